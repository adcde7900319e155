"""Damaged inputs of tasks: each format gives tasks, or errors that name the record or the file."""

import datetime as dt
import json
import random
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tests.fuzz.mutations import NASTY, damaged_json, damaged_text
from todobatch import Hooks, Task, run_batches
from todobatch.errors import BrokenLineError
from todobatch.model import TaskFailure
from todobatch.sources import open_source

EXAMPLES = Path(__file__).parents[2] / "examples"
TODAY = dt.date(2026, 11, 24)
MOST_RECORDS = 5
WORDS = (
    *(each for each in NASTY if isinstance(each, str)),
    *("x", "(A)", "(a)", "(AA)", "+", "@", "due:", "due:2026-13-01", "due:0000-00-00", "t:9999-1"),
    *("rec:", "rec:+0d", "rec:99999999999999999999y", "2026-02-30", "x 2026-01-01", "pri:Z"),
    *("9" * 4_400, "\u0661", "\u00b2", '"', '""', "'", ",", ";", "\t", "\r", "\x0b", "\x85"),
    *("\ufeff", "\u2028", "+a,b", "yes", "-0", "1e9", "P1Y", "P99999999999D", "daily"),
    *("20261120T120000Z", "20269920T129900Z"),
)


def todotxt(path: Path, dice: random.Random) -> None:
    """A todo.txt."""
    path.write_bytes(_damaged_lines(_records("todo.txt"), r"\S+", dice))


def taskwarrior(path: Path, dice: random.Random) -> None:
    """An export of Taskwarrior: one array, or one object a line."""
    records = _some([line.strip(b",") for line in _records("tasks.json")[1:-1]], dice)
    if dice.random() < 0.7:
        path.write_bytes(damaged_json(b"[" + b",".join(records) + b"]", dice))
    else:
        path.write_bytes(_damaged_record(records, dice, between=b",\n"))


def jsonl(path: Path, dice: random.Random) -> None:
    """JSON Lines."""
    path.write_bytes(_damaged_record(_some(_records("tasks.jsonl"), dice), dice, between=b"\n"))


def csv(path: Path, dice: random.Random) -> None:
    """A CSV file; the header may be what is damaged."""
    path.write_bytes(_damaged_lines(_records("tasks.csv"), r"[^,]*", dice, header=1))


def _read(name: str, damage: Callable[[Path, random.Random], None]) -> Callable[..., None]:
    def read(folder: Path, dice: random.Random) -> None:
        path = folder / "input"
        damage(path, dice)
        source = open_source(path, format=name, today=TODAY)
        broken: list[BrokenLineError] = []
        tasks = list(source.read(broken.append))
        for task in tasks:
            assert isinstance(task, Task)
            assert isinstance(task.title, str)
        for error in broken:
            assert error.place == f"{path}:{error.line}"
            assert error.line >= 1
        json.dumps(source.skipped)
        if tasks and dice.random() < 0.1:  # it takes ten times as long as reading
            failures: list[TaskFailure] = []
            note = Hooks(on_batch=lambda batch, result: failures.extend(result.failures))
            report = run_batches(tasks, "pipeline", executor="sequential", hooks=note)
            assert report.tasks == len(tasks)
            assert all("ends after the year 9999" in each.error for each in failures)

    return read


INPUTS: Mapping[str, Callable[[Path, random.Random], None]] = {
    each.__name__: _read(each.__name__, each) for each in (todotxt, taskwarrior, jsonl, csv)
}


@cache
def _records(name: str) -> list[bytes]:
    return (EXAMPLES / name).read_bytes().splitlines()


def _some(records: list[bytes], dice: random.Random) -> list[bytes]:
    begin = dice.randrange(len(records))
    return records[begin : begin + dice.randint(1, MOST_RECORDS)]


def _damaged_record(records: list[bytes], dice: random.Random, *, between: bytes) -> bytes:
    """Damage one of the records as JSON, or the text of all of them."""
    if dice.random() < 0.1:
        return damaged_text(between.join(records), dice)
    at = dice.randrange(len(records))
    records[at] = damaged_json(records[at], dice)
    return between.join(records) + b"\n"


def _damaged_lines(
    records: list[bytes], word: str, dice: random.Random, *, header: int = 0
) -> bytes:
    """Replace words of some lines, or damage the text of all of them."""
    lines = records[:header] + _some(records[header:], dice)
    for _ in range(dice.randint(0, 3)):
        at = dice.randrange(len(lines))
        text = lines[at].decode("utf-8", "surrogatepass")
        found = dice.choice([*re.finditer(word, text)] or [re.match("", text)])
        assert found is not None
        text = text[: found.start()] + dice.choice(WORDS) + text[found.end() :]
        lines[at] = text.encode("utf-8", "surrogatepass")
    text_of_all = dice.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines)
    return damaged_text(text_of_all, dice) if dice.random() < 0.4 else text_of_all
