"""Runs that make no progress, and errors while a thread drives the executor."""

import os
import re
import threading
from collections.abc import Iterator
from time import perf_counter
from types import SimpleNamespace
from typing import cast

import pytest

from tests.coordinator.made_up import named
from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, run_batches
from todobatch.coordinator import watchdog
from todobatch.coordinator.drive import workers_left
from todobatch.coordinator.recovery import Feed
from todobatch.coordinator.watchdog import no_progress
from todobatch.errors import NoProgressError, StoreError
from todobatch.executors import get
from todobatch.model import Batch, ProcessingResult
from todobatch.processors import TaskBatchProcessor


def test_no_progress_is_an_error_that_names_the_batches_in_flight_and_the_remedy() -> None:
    """The thread that hangs is released at the end of the test, because it cannot be killed."""
    go = threading.Event()

    class Hangs(TaskBatchProcessor):
        name = "hangs"

        def process_task(self, task: Task) -> str:
            if task.title == "task 7":
                go.wait()
            return task.title

    try:
        with pytest.raises(NoProgressError) as raised:
            run_batches(named(40), Hangs(), batch_size=5, recovery=Recovery(watchdog_s=0.3))
    finally:
        go.set()
    text = str(raised.value)
    # Short batches travel together: some may wait behind the one that hangs.
    found = re.search(r"(\d+) tasks are done; in flight: batch 1 \(tasks 5 to 9\) for ", text)
    assert found is not None, text
    assert int(found[1]) in range(0, 40, 5)
    assert "executor threads" in text
    assert '`executor="processes"`' in text


def test_time_for_which_the_process_was_stopped_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(watchdog, "perf_counter", lambda: now[0])
    feed = cast("Feed", SimpleNamespace(progress_at=100.0, in_flight=lambda: [(None, 100.0)]))
    dog = watchdog.Watchdog(2.0)

    def is_stuck_after(seconds: float) -> bool:
        now[0] += seconds
        return dog.is_stuck(feed)

    assert not any(is_stuck_after(0.25) for _ in range(4))
    assert not is_stuck_after(30.0)  # as in a container that is paused
    assert [is_stuck_after(0.25) for _ in range(4)] == [False, False, False, True]


def test_a_batch_is_in_flight_from_when_it_was_read_not_from_when_it_was_awaited() -> None:
    came: list[float] = []

    def slow() -> Iterator[Batch]:
        came.append(perf_counter())
        yield Batch(0, (Task("a"),))

    feed = Feed(slow(), Flaky())
    next(feed)
    ((_, since),) = feed.in_flight()
    assert since >= came[0]


def test_waiting_for_the_input_is_not_a_lack_of_progress() -> None:
    """The feed waits longer than the watchdog allows, with no batch in flight."""
    waiting = threading.Event()

    def slow() -> Iterator[Task]:
        yield from named(2)
        waiting.wait(0.6)
        yield Task("last")

    report = run_batches(
        slow(), Flaky(), executor="sequential", batch_size=1, recovery=Recovery(watchdog_s=0.2)
    )
    assert report.tasks == 3


@pytest.mark.thread_unsafe(reason="it counts the threads of the process")
def test_an_exception_in_a_callback_is_raised_through_the_pump_too() -> None:
    def take(result: ProcessingResult) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_batches(
            [Task("a")] * 500,
            "validate",
            batch_size=1,
            hooks=Hooks(on_result=take),
            recovery=Recovery(watchdog_s=60),
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("todobatch-")]


def test_an_error_is_raised_although_a_batch_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while a batch hangs: the run does not wait for that batch."""
    monkeypatch.setattr("todobatch.coordinator.drive.END_AFTER_ERROR_S", 0.05)
    go, hangs = threading.Event(), threading.Event()

    class Hangs(TaskBatchProcessor):
        name = "hangs"

        def process_task(self, task: Task) -> str:
            if task.title == "task 0":
                hangs.set()
                go.wait()
            return task.title

    def take(result: ProcessingResult) -> None:
        hangs.wait()
        raise StoreError("no space left")

    try:
        with pytest.raises(StoreError, match="no space left"):
            run_batches(
                named(500),
                Hangs(),
                executor="threads",
                batch_size=1,
                hooks=Hooks(on_result=take),
                recovery=Recovery(watchdog_s=60),
            )
        assert workers_left(), "who calls must know, so as not to wait at the end of the process"
    finally:
        go.set()
    while workers_left():  # the test's watchdog bounds it
        os.sched_yield()


def test_an_error_in_reading_the_input_comes_through_the_pump() -> None:
    def broken() -> "object":
        yield from named(5)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run_batches(broken(), "validate", recovery=Recovery(watchdog_s=60))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("executor", "deadline_s", "part"),
    [
        ("processes", None, "pass `deadline_s`: it stops a batch that hangs"),
        ("processes", 5.0, "pass a `watchdog_s` well above `deadline_s` (5 s)"),
        ("threads", None, 'choose `executor="processes"`'),
    ],
)
def test_the_remedy_names_no_option_that_was_given(
    executor: str, deadline_s: float | None, part: str
) -> None:
    recovery = Recovery(deadline_s=deadline_s, watchdog_s=1.0)
    assert part in no_progress(get(executor), "nothing came", recovery).remedy
