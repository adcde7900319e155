"""Batches that break are retried and split, until each task is done or set aside."""

import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coordinator.made_up import AT_ONCE, Took, as_if_failed, named, run
from tests.tools.flaky import Flaky
from todobatch import Recovery, Task, batched, run_batches
from todobatch.coordinator.recovery import HOPELESS_AFTER, MOST_WAITING, Feed
from todobatch.errors import MeasurementError, UsageError
from todobatch.executors import get
from todobatch.model import Batch, TaskFailure
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.base import failed_result
from todobatch.testing import FOR_EVER, Scripted


@st.composite
def jobs(draw: st.DrawFn) -> tuple[int, int, set[int], dict[int, int]]:
    """Draw tasks, a batch size, tasks that raise, and tasks that break up to N times."""
    count = draw(st.integers(1, 60))
    places = st.integers(0, count - 1)
    bad = draw(st.sets(places, max_size=5))
    often = st.sampled_from([1, 2, 3, 4, 7, FOR_EVER])
    return count, draw(st.integers(1, 25)), bad, draw(st.dictionaries(places, often, max_size=6))


@settings(max_examples=400, deadline=None)
@given(
    job=jobs(),
    retries=st.integers(0, 3),
    seed=st.integers(0, 1000),
    holds=st.integers(1, 6),
    loses=st.booleans(),
    names=st.booleans(),
    task_s=st.sampled_from([None, 1.0, 0.01, 0.004]),
)
def test_each_task_is_in_the_results_once_whatever_breaks(
    job: tuple[int, int, set[int], dict[int, int]],
    retries: int,
    seed: int,
    holds: int,
    loses: bool,
    names: bool,
    task_s: float | None,
) -> None:
    count, size, bad, breaks = job
    tasks = named(count, bad)
    executor = Scripted(
        {tasks[n].title: often for n, often in breaks.items()},
        seed=seed, holds=holds, loses=loses, names_tasks=names,
    )  # fmt: skip
    # With tasks that take this long, many batches go out in parts.
    processor = Flaky() if task_s is None else Took(task_s)
    report, seen = run(
        tasks, executor, size, processor, recovery=Recovery(retries, 0.0), split=task_s is not None
    )

    places = Counter(
        place for batch, _ in seen for place in range(batch.first, batch.first + len(batch))
    )
    assert places == Counter(range(count))
    assert sorted(batch.index for batch, _ in seen) == list(range(-(-count // size)))
    # Each task has its own row, or is named as failed with its own title.
    failed: dict[int, TaskFailure] = {}
    for batch, result in seen:
        assert result.batch == batch.index
        assert result.rows is not None
        mine = {failure.task: failure for failure in result.failures}
        failed |= mine
        for place, (task, row) in enumerate(
            zip(batch.tasks, result.rows, strict=True), start=batch.first
        ):
            assert (row is None) == (place in mine)
            assert place in mine or row == task.title
    assert all(failure.title == tasks[n].title for n, failure in failed.items())
    aside = {failure.task for failure in report.set_aside_tasks}
    poison = {n for n, often in breaks.items() if often == FOR_EVER}
    assert poison <= aside  # every one that breaks for ever is found …
    assert set(failed) == aside | bad  # … and what is set aside is counted as failed, no more
    # Nothing that never broke is set aside, unless several batches before were lost as a whole.
    lost = sum({*range(each.first, each.first + len(each))} <= aside for each, _ in seen)
    assert aside <= set(breaks) or lost > HOPELESS_AFTER
    assert report.failed == len(failed)
    assert report.tasks == count
    # The whole is what it would be, had those tasks failed by themselves.
    expected = as_if_failed(tasks, aside, size)
    assert (report.digest, report.result) == (expected.digest, expected.result)
    assert executor.most_in_flight <= holds


def test_a_batch_that_broke_once_is_whole_afterwards() -> None:
    tasks = named(30)
    report, _ = run(tasks, Scripted({"task 12": 1}))
    assert (report.failed, report.set_aside, report.retried, report.replaced) == (0, 0, 1, 1)
    assert report.digest == as_if_failed(tasks, set(), 10).digest


def test_poison_tasks_are_isolated_with_their_error_and_the_others_are_done() -> None:
    tasks = named(40, bad={3})
    executor = Scripted({"task 17": FOR_EVER, "task 33": FOR_EVER})
    report, seen = run(tasks, executor, 20)
    assert {failure.task: failure.title for failure in report.set_aside_tasks} == {
        17: "task 17",
        33: "task 33",
    }
    assert all(failure.error.startswith("it broke (") for failure in report.set_aside_tasks)
    assert (report.set_aside, report.failed, report.failed_batches) == (2, 3, 2)
    assert report.digest == as_if_failed(tasks, {17, 33}, 20).digest
    first = next(result for batch, result in seen if batch.index == 0)
    assert first.error is not None
    assert "batch 0 (tasks 0 to 19): 2 of 20 tasks failed" in first.error
    # A task alone gets as many runs as a batch: 3 whole, 5 while halving 20, and its own 3.
    assert executor.runs["task 17"] <= 3 + 5 + 3
    assert executor.runs["task 0"] <= 3 + 5


@pytest.mark.parametrize(("retries", "runs"), [(0, 2), (1, 2), (3, 4)])
def test_a_named_task_is_retried_alone_and_the_others_run_once_more(
    retries: int, runs: int
) -> None:
    tasks = named(40, bad={3})
    executor = Scripted({"task 17": FOR_EVER}, names_tasks=True)
    report, _ = run(tasks, executor, 20, recovery=Recovery(retries, 0.0))
    assert [failure.task for failure in report.set_aside_tasks] == [17]
    assert report.digest == as_if_failed(tasks, {17}, 20).digest
    assert executor.runs["task 17"] == report.replaced == runs
    assert report.retried == runs - 1
    assert {executor.runs[f"task {n}"] for n in (*range(3), *range(4, 17))} == {2}
    assert {executor.runs[f"task {n}"] for n in (18, 19)} == {1}, "the worker had not begun them"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_named_task_that_breaks_no_run_of_its_own_is_not_set_aside(retries: int) -> None:
    executor = Scripted({"task 5": 1}, names_tasks=True)
    report, _ = run(named(10), executor, recovery=Recovery(retries, 0.0))
    assert (report.failed, report.set_aside, report.retried, report.replaced) == (0, 0, 1, 1)
    assert report.digest == as_if_failed(named(10), set(), 10).digest


def test_many_named_tasks_need_no_splitting() -> None:
    poison = set(range(2, 40, 5))
    executor = Scripted({f"task {n}": FOR_EVER for n in poison}, names_tasks=True)
    report, _ = run(named(40), executor, 20)
    assert {failure.task for failure in report.set_aside_tasks} == poison
    assert report.digest == as_if_failed(named(40), poison, 20).digest
    assert {executor.runs[f"task {n}"] for n in poison} == {3}
    assert max(executor.runs.values()) == 3
    assert report.replaced == 3 * len(poison)


class Summed(Flaky):
    """Has a `summarise` of its own, which the coordinator may not call for sound batches."""

    summary_is_safe = False


def test_where_parts_give_another_result_the_whole_batch_is_retried_first() -> None:
    batches: list[Batch] = []
    executor = Scripted({"task 5": 2}, names_tasks=True, on_run=batches.append)
    report, _ = run(named(10), executor, processor=Summed())
    assert (report.failed, [len(batch) for batch in batches]) == (0, [10, 10, 10])
    batches.clear()
    executor = Scripted({"task 5": FOR_EVER}, names_tasks=True, on_run=batches.append)
    report, _ = run(named(10), executor, processor=Summed())
    assert [failure.task for failure in report.set_aside_tasks] == [5]
    assert sorted(len(batch) for batch in batches) == [1, 4, 5, 10, 10, 10]
    assert report.digest == as_if_failed(named(10), {5}, 10).digest


@pytest.mark.parametrize("task", [-1, 10])
def test_a_name_that_is_not_in_the_batch_is_ignored(task: int) -> None:
    feed = Feed(batched(named(10), 10), Flaky(), AT_ONCE)
    broken = failed_result("p", next(feed), "broken", fault="crashed")
    assert feed.settle(replace(broken, failures=(TaskFailure(task, "a", "broken"),))) is None
    assert len(next(feed)) == 10


def test_an_isolated_task_is_retried_before_it_is_set_aside() -> None:
    # 3 runs of the batch, 1 of each half on the way, and 2 of its own: the third one holds.
    report, _ = run(named(8), Scripted({"task 5": 3 + 2 + 2}), 8)
    assert (report.failed, report.set_aside) == (0, 0)


def test_failed_tasks_are_retried_only_with_retry_failed() -> None:
    tasks = named(10, bad={4})
    executor = Scripted()
    report, _ = run(tasks, executor)
    assert (executor.runs["bad 4"], report.retried, report.failed) == (1, 0, 1)
    executor = Scripted()
    report, _ = run(tasks, executor, recovery=Recovery(2, 0.0, retry_failed=True))
    assert (executor.runs["bad 4"], report.retried, report.failed, report.set_aside) == (3, 2, 1, 0)


def test_when_every_batch_breaks_later_ones_are_set_aside_whole_with_the_same_digest() -> None:
    tasks = named(100)
    executor = Scripted({task.title: FOR_EVER for task in tasks})
    report, _ = run(tasks, executor, 10, recovery=Recovery(0, 0.0))
    assert (report.failed, report.set_aside) == (100, 100)
    assert report.digest == as_if_failed(tasks, set(range(100)), 10).digest
    searched = sum(1 for count in executor.runs.values() if count > 1)
    assert searched >= 10 * HOPELESS_AFTER
    assert searched < 100, "after some batches in vain, later ones are set aside whole"


def test_other_batches_run_while_one_waits_for_its_retry() -> None:
    order: list[int] = []
    executor = Scripted({"task 0": 1}, holds=1, on_run=lambda batch: order.append(batch.index))
    feed_done = run_batches(named(50), Flaky(), executor=executor, batch_size=1)
    assert feed_done.failed == 0
    assert order.count(0) == 2
    assert order[1] == 1, "the next one did not wait for the first one's backoff"


def test_backoff_doubles_and_waiting_batches_are_bounded() -> None:
    now = perf_counter()
    feed = Feed(batched(named(3 * MOST_WAITING), 1), Flaky(), Recovery(retries=9, backoff_s=1000.0))
    for _ in range(MOST_WAITING + 1):
        batch = next(feed)
        assert feed.settle(failed_result("p", batch, "broken", fault="crashed")) is None
    due = [entry[0] - now for entry in feed._waiting]
    assert min(due) >= 30.0, "at most 30 s, however long the backoff"
    assert next(feed).index == 0, "the one that waits longest need not wait on"
    feed = Feed(batched(named(1), 1), Flaky(), Recovery(retries=9, backoff_s=1.0))
    batch = next(feed)
    for times in range(4):
        begun = perf_counter()
        feed.settle(failed_result("p", batch, "broken", fault="crashed"))
        (due_at, _, out) = feed._waiting.pop()
        assert 2.0**times <= due_at - begun
        feed._waiting.append((0.0, 0, out))
        batch = next(feed)


def test_a_second_result_of_a_batch_is_refused() -> None:
    feed = Feed(batched(named(2), 1), Flaky())
    result = Flaky().process_batch(next(feed))
    assert feed.settle(result) is not None
    with pytest.raises(MeasurementError, match="batch 0, which was not in flight"):
        feed.settle(result)


def test_a_stop_leaves_waiting_batches_and_returns_no_half_done_one() -> None:
    stop = threading.Event()
    executor = Scripted({"task 3": FOR_EVER}, on_run=lambda batch: stop.set(), holds=1)
    report, seen = run(named(10), executor, 10, stop=stop.is_set)
    assert report.interrupted
    assert seen == []
    assert report.tasks == 0


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"retries": -1}, "`retries`"),
        ({"backoff_s": -0.1}, "`backoff_s`"),
        ({"backoff_s": float("nan")}, "`backoff_s`"),
        ({"watchdog_s": 0.0}, "`watchdog_s`"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], place: str) -> None:
    with pytest.raises(UsageError) as raised:
        Recovery(**options)  # type: ignore[arg-type]
    assert raised.value.place == place


def test_an_executor_without_deadlines_names_the_one_with_them() -> None:
    assert not get("threads").capabilities.enforces_deadlines
    with pytest.raises(UsageError, match="processes"):
        run_batches([Task("a")], "validate", executor="threads", recovery=Recovery(deadline_s=1))


class Waits(TaskBatchProcessor):
    """The first task kills its worker once; the second waits until the first is done."""

    name = "waits"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def process_task(self, task: Task) -> str:
        died, done = self.folder / "died", self.folder / "done"
        if task.title == "dies once":
            if not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            done.touch()
        elif task.title == "waits for it":
            while not done.exists():
                sleep(0.001)
        return task.title


@pytest.mark.parametrize("backoff_s", [0.0, 0.2])
def test_a_retry_does_not_wait_for_the_last_batches(tmp_path: Path, backoff_s: float) -> None:
    """The batch in flight ends only after the other batch was retried."""
    report = run_batches(
        [Task("waits for it"), Task("dies once")], Waits(str(tmp_path)),
        executor="processes", workers=2, batch_size=1,
        recovery=Recovery(backoff_s=backoff_s, watchdog_s=30.0),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.retried, report.replaced) == (2, 0, 1, 1)
