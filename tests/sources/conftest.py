"""A fixture that reads bytes as a format, without a file."""

import datetime as dt
import io
from dataclasses import dataclass
from typing import Protocol

import pytest

from todobatch.errors import BrokenLineError
from todobatch.model import Task
from todobatch.sources import FORMATS
from todobatch.sources.base import Input, Reading

TODAY = dt.date(2026, 11, 24)


@dataclass(frozen=True)
class Outcome:
    """The tasks and broken records of one reading."""

    tasks: list[Task]
    broken: list[BrokenLineError]
    skipped: dict[str, int]

    @property
    def titles(self) -> list[str]:
        return [task.title for task in self.tasks]

    @property
    def broken_lines(self) -> list[int]:
        return [error.line for error in self.broken]


class Parse(Protocol):
    def __call__(self, fmt: str, data: bytes | str, today: dt.date = TODAY) -> Outcome: ...


@pytest.fixture(scope="session")
def parse() -> Parse:
    def parse(fmt: str, data: bytes | str, today: dt.date = TODAY) -> Outcome:
        raw = data.encode() if isinstance(data, str) else data
        broken: list[BrokenLineError] = []
        reading = Reading("tasks.in", today, broken.append)
        tasks = list(FORMATS[fmt].read(Input(io.BytesIO(raw), "tasks.in"), reading))
        return Outcome(tasks, broken, reading.skipped)

    return parse
