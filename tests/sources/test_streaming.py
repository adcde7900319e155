"""Memory while reading does not grow with the file."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from todobatch.model import Task
from todobatch.sources import generate, open_source
from todobatch.sources.registry import FORMATS

pytestmark = pytest.mark.thread_unsafe(reason="tracemalloc counts what all threads take")

LINE: dict[str, Callable[[Task], str]] = {
    "todotxt": lambda task: f"{task.title} due:{task.created}\n",
    "jsonl": lambda task: json.dumps({"title": task.title, "due": str(task.created)}) + "\n",
    "csv": lambda task: f"{task.title},{task.created}\n",
    "taskwarrior": lambda task: (
        json.dumps({"description": task.title, "due": str(task.created)}) + ",\n"
    ),
}
START = {"csv": "title,due\n", "taskwarrior": "[\n"}
END = {"taskwarrior": '{"description":"last"}]'}


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def write(path: Path, fmt: str, tasks: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(START.get(fmt, ""))
        file.writelines(LINE[fmt](task) for task in generate(tasks))
        file.write(END.get(fmt, ""))


def peak_of_reading(path: Path, fmt: str) -> tuple[int, int]:
    """Return the number of tasks read, and the peak of traced memory in bytes."""
    with traced() as peak:
        count = sum(1 for _ in open_source(path, format=fmt).read(lambda e: pytest.fail(str(e))))
        return count, peak()


def test_every_format_is_written_here() -> None:
    assert LINE.keys() == FORMATS.keys()


@pytest.mark.parametrize("fmt", LINE)
def test_ten_times_the_tasks_take_the_same_memory(tmp_path: Path, fmt: str) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    write(small, fmt, 2_000)
    write(large, fmt, 20_000)
    # What is made once (tables, caches) is made here.
    assert sum(1 for _ in open_source(large, format=fmt).read(lambda e: pytest.fail(str(e))))
    few, small_peak = peak_of_reading(small, fmt)
    many, large_peak = peak_of_reading(large, fmt)
    assert many - few == 18_000
    assert large_peak < 1.5 * small_peak
    assert large_peak < large.stat().st_size


@pytest.mark.parametrize("fmt", LINE)
@pytest.mark.parametrize("filler", [b"x", b'"', b"[", b"{", b"\n", b'"\n', b"{\n", b"\\"])
def test_a_large_file_that_is_no_tasks_at_all_takes_little_memory(
    tmp_path: Path, fmt: str, filler: bytes
) -> None:
    path = tmp_path / "noise"
    repeats = 4_000_000 // len(filler) if b"\n" not in filler else 4_000
    path.write_bytes(START.get(fmt, "").encode() + filler * repeats)
    with traced() as peak:
        tasks = sum(1 for _ in open_source(path, format=fmt).read(lambda _: None))
        assert peak() < 3_000_000
    assert tasks <= repeats


def test_generated_tasks_are_never_all_there() -> None:
    list(generate(1))  # the table of titles
    with traced() as peak:
        assert sum(1 for _ in generate(50_000)) == 50_000
        assert peak() < 200_000
