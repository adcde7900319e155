"""Fixtures of the contract suite, which runs on each measured interpreter."""

import datetime as dt
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from todobatch.executors import EXECUTORS, Executor, Wrapped
from todobatch.model import Batch, Task
from todobatch.testing import Scripted

sys.path.insert(0, str(Path(__file__).parent / "modules"))

TODAY = dt.date(2026, 11, 24)


WRAPPED = {
    "wrapped threads": Wrapped(ThreadPoolExecutor, "wrapped threads"),
    "wrapped processes": Wrapped(
        lambda workers: ProcessPoolExecutor(workers, mp_context=get_context("spawn")),
        "wrapped processes",
        needs_pickling=True,
        cpu_parallel=True,
    ),
}
EVERY = {**EXECUTORS, **WRAPPED, "scripted": Scripted()}


def _available() -> list[str]:
    return [name for name, executor in EVERY.items() if executor.available() is None]


@pytest.fixture(params=_available())
def executor(request: pytest.FixtureRequest) -> Executor:
    """Run the test on each executor that works here; another test checks that none is missing."""
    return EVERY[request.param]


@pytest.fixture
def tasks() -> list[Task]:
    return [
        Task(
            f"task {n}",
            priority=1 + n % 10,
            done=n % 3 == 0,
            due=TODAY + dt.timedelta(days=n % 60 - 30),
            created=dt.date(2026, 1, 1),
            projects=(f"project{n % 5}",),
            recurrence="+1m" if n % 7 == 0 else None,
        )
        for n in range(230)
    ]


@pytest.fixture
def titled() -> Callable[[Sequence[Sequence[str]]], list[Batch]]:
    """Make batches from titles: ``[["a", "b"], ["c"]]``."""

    def make(titles: Sequence[Sequence[str]]) -> list[Batch]:
        batches, first = [], 0
        for index, batch in enumerate(titles):
            batches.append(Batch(index, tuple(Task(title) for title in batch), first))
            first += len(batch)
        return batches

    return make
