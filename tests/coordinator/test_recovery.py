"""What becomes of batches that do not come back: nothing lost, nothing twice, poison found."""

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, count, islice, repeat
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flaky import Flaky
from todobatch import Task
from todobatch.coordinator import Hooks, Recovery, batched, run_batches, urgent_first
from todobatch.coordinator import parts as part_sizes
from todobatch.coordinator.drive import workers_left
from todobatch.coordinator.parts import PartSizes
from todobatch.coordinator.recovery import HOPELESS_AFTER, MOST_WAITING, Feed, Settled
from todobatch.coordinator.tally import Tally
from todobatch.errors import MeasurementError, NoProgressError, StoreError, UsageError
from todobatch.executors import get
from todobatch.executors.base import MOST_WORKERS_NAMED, Capabilities
from todobatch.executors.worker import Worker
from todobatch.model import Batch, BatchReport, Json, ProcessingResult, TaskFailure, WorkerSeen
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.base import failed_result
from todobatch.processors.catalogue import resolve
from todobatch.testing import FOR_EVER, Scripted

AT_ONCE = Recovery(backoff_s=0.0)


def named(number: int, bad: set[int] = frozenset()) -> list[Task]:  # type: ignore[assignment]
    """Tasks with a title each; those in `bad` fail by themselves."""
    return [Task(f"bad {n}" if n in bad else f"task {n}", 1 + n % 10) for n in range(number)]


def run(
    tasks: list[Task],
    executor: Scripted,
    size: int = 10,
    processor: TaskBatchProcessor | None = None,
    *,
    recovery: Recovery = AT_ONCE,
    stop: Callable[[], bool] | None = None,
    **more: Any,
) -> tuple[BatchReport, list[tuple[Batch, ProcessingResult]]]:
    seen: list[tuple[Batch, ProcessingResult]] = []
    report = run_batches(
        tasks, processor or Flaky(), executor=executor, batch_size=size, keep_rows=True,
        recovery=recovery,
        hooks=Hooks(on_batch=lambda batch, result: seen.append((batch, result)), stop=stop),
        **more,
    )  # fmt: skip
    return report, seen


def as_if_failed(tasks: list[Task], poison: set[int], size: int) -> BatchReport:
    """The run in which these tasks simply fail."""
    changed = [
        Task(f"bad {task.title}", task.priority) if n in poison else task
        for n, task in enumerate(tasks)
    ]
    return run_batches(changed, Flaky(), executor="sequential", batch_size=size)


@st.composite
def jobs(draw: st.DrawFn) -> tuple[int, int, set[int], dict[int, int]]:
    """Tasks, batch size, those that fail by themselves, those that break (and how often)."""
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
    task_s=st.sampled_from([None, 1.0, 0.01, 0.004]),
)
def test_each_task_is_in_the_results_once_whatever_breaks(
    job: tuple[int, int, set[int], dict[int, int]],
    retries: int,
    seed: int,
    holds: int,
    loses: bool,
    task_s: float | None,
) -> None:
    count, size, bad, breaks = job
    tasks = named(count, bad)
    executor = Scripted(
        {tasks[n].title: often for n, often in breaks.items()}, seed=seed, holds=holds, loses=loses
    )
    # Of tasks that take so long, many batches go out in parts.
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
    assert aside <= set(breaks)  # nothing that never broke is set aside
    assert report.failed == len(failed)
    assert report.tasks == count
    # The whole is what it would be, had those tasks failed by themselves.
    expected = as_if_failed(tasks, aside, size)
    assert (report.digest, report.result) == (expected.digest, expected.result)
    assert executor.most_in_flight <= holds


def test_slow_tasks_go_out_in_parts_and_quick_ones_in_whole_batches() -> None:
    tasks = named(400)
    executor = Scripted(holds=2)
    parts: list[int] = []
    executor.on_run = lambda batch: parts.append(len(batch))
    processor = Slow()
    report = run_batches(tasks, processor, executor=executor, workers=2)
    whole = run_batches(tasks, processor, executor=Scripted(), workers=2, batch_size=100)
    assert (report.digest, report.result, report.batches) == (whole.digest, whole.result, 4)
    assert parts[:2] == [1, 15], "until a result has come in nobody knows how long they take"
    assert max(parts) <= part_sizes.PART_S / processor.seconds
    assert sum(parts) == 400

    parts.clear()
    run_batches(tasks, Took(1e-6), executor=executor, workers=2)
    assert parts[-3:] == [100, 100, 100]
    parts.clear()
    run_batches(tasks, processor, executor=executor, workers=2, batch_size=100)
    run_batches(batched(tasks, 100), processor, executor=executor, workers=2)
    run_batches(tasks, processor, executor=executor, workers=1)
    assert parts == [100] * 12, "who has chosen a size gets it, and one worker needs no parts"


def test_a_function_is_run_in_parts_and_an_own_process_batch_where_it_says_so() -> None:
    for processor, cut in ((OwnBatch(), False), (OwnBatchWithRows(), True)):
        parts: list[int] = []
        executor = Scripted(on_run=lambda batch, parts=parts: parts.append(len(batch)))  # type: ignore[misc]
        run_batches(named(200), processor, executor=executor, workers=2)
        assert (parts != [100, 100]) is cut
    assert resolve("examples.own_workload:slug").splittable
    assert resolve("http").splittable


def test_a_part_that_broke_once_leaves_no_trace_in_the_result() -> None:
    tasks = named(200)
    whole = run_batches(tasks, Slow(), executor=Scripted(), workers=2, batch_size=100)
    parts: list[int] = []
    executor = Scripted({"task 50": 1}, on_run=lambda batch: parts.append(len(batch)))
    report = run_batches(tasks, Slow(), executor=executor, workers=2, recovery=AT_ONCE)
    assert max(parts) < 100
    assert (report.retried, report.failed) == (1, 0)
    assert (report.digest, report.result) == (whole.digest, whole.result)


class Fragile(TaskBatchProcessor):
    """Its aggregate is its own, and may break a process."""

    def process_task(self, task: Task) -> Json:
        return task.title

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows)}


def test_an_own_aggregate_is_not_made_in_a_process_that_must_not_break() -> None:
    assert Fragile.splittable
    assert not Fragile.summary_is_safe
    assert resolve("pipeline").summary_is_safe
    assert resolve("examples.own_workload:slug").summary_is_safe
    sizes: list[int] = []
    executor = Scripted(on_run=lambda batch: sizes.append(len(batch)))
    run_batches(named(200), Fragile(), executor=executor, workers=2)
    assert sizes == [100, 100]
    sizes.clear()
    executor.isolates = False
    run_batches(named(200), Fragile(), executor=executor, workers=2)
    assert sizes[0] == 1


def test_tasks_that_are_no_tasks_of_ours_are_cut_too() -> None:
    numbers: Any = range(300)
    processor = Numbers(0.002)
    feed = Feed(batched(numbers), processor, sizes=PartSizes(2, copies=True, keep_rows=False))
    first = next(feed)
    worker = Worker(processor, "fake-1", "main", keep_rows=False)
    assert feed.settle(worker.work(first)) is None
    assert (len(first), len(next(feed))) == (1, 15)


def test_who_stops_need_not_say_so_twice() -> None:
    said = chain([False] * 3, [True], repeat(False))
    report = run_batches(
        named(400),
        Slow(),
        executor=Scripted(holds=1),
        workers=2,
        hooks=Hooks(stop=lambda: next(said)),
    )
    assert (report.interrupted, report.tasks) == (True, 100)


def test_parts_that_two_threads_number_have_numbers_of_their_own() -> None:
    feed = Feed(iter(()), Flaky())
    batch = Batch(0, (Task("a"),))
    barrier = threading.Barrier(2)
    given: tuple[list[int], list[int]] = ([], [])

    def number(mine: list[int]) -> None:
        barrier.wait()
        mine.extend(feed._part(batch, 0, 1).number for _ in range(20_000))

    threads = [threading.Thread(target=number, args=(mine,)) for mine in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*given[0], *given[1]}) == 40_000


def test_large_tasks_are_copied_in_parts() -> None:
    tasks = [Task("x" * (part_sizes.PART_BYTES // 4)) for _ in range(30)]
    parts: list[int] = []
    copying = Copying(holds=2, on_run=lambda batch: parts.append(len(batch)))
    run_batches(tasks, Took(1e-6), executor=copying, workers=2)
    assert (sum(parts), max(parts)) == (30, 4)
    parts.clear()
    run_batches(tasks, Took(1e-6), executor=Scripted(holds=1, on_run=copying.on_run), workers=2)
    assert max(parts) == 29, "where nothing is copied, they are as any others"


class Copying(Scripted):
    """Says that it copies batches to its workers."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, needs_pickling=True)


def test_a_batch_that_was_begun_is_finished_when_the_user_stops() -> None:
    begun = threading.Event()
    executor = Scripted(holds=2, on_run=lambda _batch: begun.set())
    report = run_batches(
        named(400), Slow(), executor=executor, workers=2, hooks=Hooks(stop=begun.is_set)
    )
    assert (report.interrupted, report.tasks, report.batches, report.failed) == (True, 100, 1, 0)


def test_a_part_in_which_tasks_fail_is_run_again_when_that_is_asked_for() -> None:
    tasks = named(40, bad={7})
    executor = Scripted(holds=2)
    report, _ = run(
        tasks, executor, 20, Took(1.0), split=True, recovery=Recovery(2, 0.0, retry_failed=True)
    )
    assert (report.failed, report.retried, executor.runs["bad 7"]) == (1, 2, 3)
    assert executor.runs["task 6"] == 1


class Took(Flaky):
    """Says how long a task took."""

    splittable = True

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def result_of(
        self, batch: Batch, rows: list[Json], failures: list[TaskFailure], started: float
    ) -> ProcessingResult:
        result = super().result_of(batch, rows, failures, started)
        return replace(result, duration=self.seconds * len(batch))


class Slow(Took):
    """Says that a task took two milliseconds; its aggregate shows how it was rounded."""

    splittable = True

    def __init__(self) -> None:
        super().__init__(0.002)

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"thirds": sum(task.priority / 3 for task in tasks)}


class Numbers(Took):
    """Of tasks that are no tasks of ours."""

    def process_task(self, task: object) -> str:
        return str(task)

    splittable = True

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows)}


class OwnBatch(Slow):
    """Has a `process_batch` of its own, which may do what it likes."""

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return replace(super().process_batch(tasks), rows=None)


class OwnBatchWithRows(Slow):
    """Says that it gives rows."""

    splittable = True

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return super().process_batch(tasks)


def test_a_batch_that_broke_once_is_whole_afterwards() -> None:
    tasks = named(30)
    report, _ = run(tasks, Scripted({"task 12": 1}))
    assert (report.failed, report.set_aside, report.retried, report.replaced) == (0, 0, 1, 1)
    assert report.digest == as_if_failed(tasks, set(), 10).digest


def test_poison_is_found_singly_with_its_error_and_its_neighbours_are_done() -> None:
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


def test_a_task_that_breaks_alone_now_and_then_is_tried_again_before_it_is_set_aside() -> None:
    # 3 runs of the batch, 1 of each half on the way, and 2 of its own: the third one holds.
    report, _ = run(named(8), Scripted({"task 5": 3 + 2 + 2}), 8)
    assert (report.failed, report.set_aside) == (0, 0)


def test_failed_tasks_are_run_again_only_when_that_is_asked_for() -> None:
    tasks = named(10, bad={4})
    executor = Scripted()
    report, _ = run(tasks, executor)
    assert (executor.runs["bad 4"], report.retried, report.failed) == (1, 0, 1)
    executor = Scripted()
    report, _ = run(tasks, executor, recovery=Recovery(2, 0.0, retry_failed=True))
    assert (executor.runs["bad 4"], report.retried, report.failed, report.set_aside) == (3, 2, 1, 0)


def test_a_row_that_is_no_json_costs_one_task() -> None:
    class Odd(TaskBatchProcessor):
        name = "odd"

        def process_task(self, task: Task) -> Json:
            return object() if task.title == "task 6" else task.title  # type: ignore[return-value]

    report = run_batches(named(20), Odd(), executor="threads", batch_size=10, recovery=AT_ONCE)
    assert [(f.task, "is not JSON" in f.error) for f in report.set_aside_tasks] == [(6, True)]
    assert (report.tasks, report.failed, report.result) == (20, 1, {"rows": 19})


def test_parts_of_a_batch_whose_processor_gives_no_rows_are_added_up() -> None:
    class Own(Flaky):
        def process_batch(self, tasks: object) -> ProcessingResult:
            assert isinstance(tasks, Batch)
            if any(task.title == "task 2" for task in tasks.tasks):
                raise MemoryError
            return ProcessingResult(
                "own", len(tasks), 0.0, success=True, partial={"rows": len(tasks)}, digest=7
            )

    report = run_batches(named(9), Own(), executor="sequential", batch_size=9, recovery=AT_ONCE)
    assert [failure.task for failure in report.set_aside_tasks] == [2]
    assert (report.tasks, report.failed, report.result) == (9, 1, {"rows": 8})
    assert report.digest == "", "nobody knows what the whole batch would have given"


def test_a_digest_that_is_not_known_stays_so_in_a_journal() -> None:
    tally = Tally(Flaky())
    whole = Flaky().process_batch(Batch(0, (Task("a"),)))
    batch = Batch(0, (Task("a"),))
    tally.add(Settled(batch, replace(whole, digest=None)))
    again = Tally(Flaky())
    again.restore(json.loads(json.dumps(tally.state())))
    again.add(Settled(batch, whole))
    assert again.totals()["digest"] == ""


class Odd(TaskBatchProcessor):
    """Gives one batch a result that makes no sense."""

    name = "odd"

    def __init__(self, **wrong: object) -> None:
        super().__init__()
        self.wrong = wrong

    def process_task(self, task: Task) -> str:
        return task.title

    def process_batch(self, tasks: object) -> ProcessingResult:
        result = super().process_batch(tasks)  # type: ignore[arg-type]
        if "task 3" not in {task.title for task in tasks.tasks}:  # type: ignore[attr-defined]
            return result
        return replace(result, **self.wrong)  # type: ignore[arg-type]

    async def process_batch_async(self, tasks: object) -> ProcessingResult:
        return self.process_batch(tasks)


@pytest.mark.parametrize("executor", ["sequential", "processes", "coroutines"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"duration": float("nan")}, "a duration of nan"),
        ({"duration": None}, "a duration of None"),
        ({"duration": -1.0}, "a duration of -1.0"),
        ({"duration": float("inf")}, "a duration of inf"),
        ({"started": None}, "None as the time when it started"),
        ({"tasks_processed": 3}, "3 tasks processed, of a batch of 1"),
        ({"tasks_processed": -1}, "-1 tasks processed"),
        ({"tasks_processed": 0.5}, "0.5 tasks processed"),
        ({"tasks_processed": 0}, "success, and 0 of 1 tasks processed"),
        ({"digest": "abc"}, "'abc' as its digest"),
        ({"digest": -1}, "-1 as its digest"),
        ({"partial": [1]}, "as its partial"),
        ({"error": 3}, "int as its error"),
        ({"rows": ("a", "b", "c")}, "tuple of 3 as its rows"),
        ({"rows": 7}, "int as its rows"),
        ({"rows": (b"bytes",)}, "rows that are not JSON"),
        ({"failures": ("x",)}, "str among its failures"),
        ({"failures": None}, "NoneType as its failures"),
        ({"failures": (TaskFailure(99, "t", "e"),)}, "task 99, which is not in the batch"),
        ({"failures": (TaskFailure(3, "t", "e"),)}, "1 tasks processed and 1 failed"),
    ],
)
def test_a_result_that_makes_no_sense_costs_its_own_task_and_says_so(
    wrong: dict[str, object], said: str, executor: str
) -> None:
    seen: list[ProcessingResult] = []
    report = run_batches(
        named(6), Odd(**wrong), executor=executor, workers=1, batch_size=1,
        keep_rows=True, recovery=Recovery(retries=0), hooks=Hooks(on_result=seen.append),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.batches) == (6, 1, 6)
    (failed,) = [result for result in seen if not result.success]
    assert failed.batch == 3
    assert said in str(failed.failures[0].error)
    assert "process_batch returned" in str(failed.failures[0].error)
    assert sum(worker.busy_s for worker in report.worker_totals) >= 0
    assert report.result == {"rows": 5}


@pytest.mark.parametrize(
    ("batches", "cause"),
    [
        ([Batch(0, (Task("a"),)), Batch(0, (Task("b"),), 1)], "two batches have the index 0"),
        ([Batch(n % 70, (Task("a"),), n) for n in range(200)], "two batches have the index 0"),
        ([Batch(-1, (Task("a"),))], "a batch has the index -1"),
        ([Batch(0, (Task("a"),)), Task("b")], "Task came after batches"),
    ],
)
@pytest.mark.parametrize("executor", ["sequential", "threads", "processes"])
def test_ready_made_batches_without_an_index_of_their_own_are_refused(
    batches: list[Batch], cause: str, executor: str
) -> None:
    with pytest.raises(UsageError) as raised:
        run_batches(batches, "validate", executor=executor)
    assert raised.value.cause == cause
    assert raised.value.place == "`tasks`"
    assert "number the batches 0, 1, 2" in raised.value.remedy


def test_where_everything_breaks_the_search_is_given_up_and_the_digest_does_not_show_it() -> None:
    tasks = named(100)
    executor = Scripted({task.title: FOR_EVER for task in tasks})
    report, _ = run(tasks, executor, 10, recovery=Recovery(0, 0.0))
    assert (report.failed, report.set_aside) == (100, 100)
    assert report.digest == as_if_failed(tasks, set(range(100)), 10).digest
    searched = sum(1 for count in executor.runs.values() if count > 1)
    assert searched >= 10 * HOPELESS_AFTER
    assert searched < 100, "after some batches in vain, later ones are set aside whole"


def test_other_batches_go_on_while_one_waits_to_be_run_again() -> None:
    order: list[int] = []
    executor = Scripted({"task 0": 1}, holds=1, on_run=lambda batch: order.append(batch.index))
    feed_done = run_batches(named(50), Flaky(), executor=executor, batch_size=1)
    assert feed_done.failed == 0
    assert order.count(0) == 2
    assert order[1] == 1, "the next one did not wait for the first one's backoff"


def test_backoff_doubles_and_what_waits_is_bounded() -> None:
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


def test_stopping_leaves_what_waits_and_gives_nothing_half_done() -> None:
    stop = threading.Event()
    executor = Scripted({"task 3": FOR_EVER}, on_run=lambda batch: stop.set(), holds=1)
    report, seen = run(named(10), executor, 10, stop=stop.is_set)
    assert report.interrupted
    assert seen == []
    assert report.tasks == 0


def test_workers_account_holds_the_parts() -> None:
    report, _ = run(named(20), Scripted({"task 3": FOR_EVER}), 20)
    assert sum(worker.tasks for worker in report.worker_totals) == 19


def test_the_account_of_workers_does_not_grow_with_those_that_were_replaced() -> None:
    tally = Tally(Flaky())
    batch = Batch(0, (Task("a"),))
    result = Flaky().process_batch(batch)
    for n in range(MOST_WORKERS_NAMED + 10):
        tally.add(Settled(batch, replace(result, seen=WorkerSeen(f"process-{n}", pid=1 + n))))
    totals = tally.totals()["worker_totals"]
    assert len(totals) == MOST_WORKERS_NAMED + 1
    assert sum(worker.tasks for worker in totals) == MOST_WORKERS_NAMED + 10
    assert next(worker.tasks for worker in totals if worker.worker == "others") == 10


def test_what_executors_count_is_added_up_over_rounds() -> None:
    class Counted(TaskBatchProcessor):
        name = "counted"
        runs = 0

        def process_batch(self, tasks: object) -> ProcessingResult:
            Counted.runs += 1
            if Counted.runs == 1:
                raise MemoryError
            return super().process_batch(tasks)  # type: ignore[arg-type]

        def process_task(self, task: Task) -> str:
            return task.title

    report = run_batches(
        named(3),
        Counted(),
        executor="stealing",
        workers=2,
        batch_size=3,
        recovery=Recovery(backoff_s=0.01),
    )
    assert report.retried == 1, "a second round was needed"
    assert sorted(each.worker for each in report.worker_stats) == ["thread-1", "thread-2"]
    assert all(each.idle_s > 0 for each in report.worker_stats)


def test_no_progress_is_an_error_that_names_what_is_out_and_the_remedy() -> None:
    """The thread that hangs is let go when the test is over: it cannot be killed."""
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


def test_a_batch_is_out_from_when_it_came_in_and_not_from_when_it_was_waited_for() -> None:
    came: list[float] = []

    def slow() -> Iterator[Batch]:
        came.append(perf_counter())
        yield Batch(0, (Task("a"),))

    feed = Feed(slow(), Flaky())
    next(feed)
    ((_, since),) = feed.in_flight()
    assert since >= came[0]


def test_a_slow_input_is_no_lack_of_progress() -> None:
    """The feed waits longer than the watchdog allows, with nothing out."""
    waiting = threading.Event()

    def slow() -> Iterator[Task]:
        yield from named(2)
        waiting.wait(0.6)
        yield Task("last")

    report = run_batches(
        slow(), Flaky(), executor="sequential", batch_size=1, recovery=Recovery(watchdog_s=0.2)
    )
    assert report.tasks == 3


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"retries": -1}, "`retries`"),
        ({"backoff_s": -0.1}, "`backoff_s`"),
        ({"backoff_s": float("nan")}, "`backoff_s`"),
        ({"watchdog_s": 0.0}, "`watchdog_s`"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, float], place: str) -> None:
    with pytest.raises(UsageError) as raised:
        Recovery(**options)  # type: ignore[arg-type]
    assert raised.value.place == place


def test_an_executor_that_has_no_deadlines_names_the_one_that_has() -> None:
    assert not get("threads").capabilities.enforces_deadlines
    with pytest.raises(UsageError, match="processes"):
        run_batches([Task("a")], "validate", executor="threads", recovery=Recovery(deadline_s=1))


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


def test_an_error_is_told_although_a_batch_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while another batch never ends: nobody waits for that one for ever."""
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


def test_what_reading_the_input_throws_comes_through_the_pump() -> None:
    def broken() -> "object":
        yield from named(5)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        run_batches(broken(), "validate", recovery=Recovery(watchdog_s=60))  # type: ignore[arg-type]


# Order --------------------------------------------------------------------------------------------


def of(*priorities: int) -> list[Batch]:
    return list(batched((Task(str(n), p) for n, p in enumerate(priorities)), 1))


def test_urgent_batches_go_first_and_equals_in_their_order() -> None:
    assert [b.index for b in urgent_first(of(5, 1, 3, 1, 10), 5)] == [1, 3, 2, 0, 4]
    # Only the next two are looked at, though their tasks are more than asked for.
    assert [b.index for b in urgent_first(of(5, 4, 3, 2, 1), 1)] == [1, 2, 3, 4, 0]
    assert [b.index for b in urgent_first(of(5, 4, 3, 2, 1), 2)] == [1, 2, 3, 4, 0]
    batches = [
        Batch(0, (Task("a", 1), Task("b", 9))),
        Batch(1, (Task("c", 1), Task("d", 2))),
        Batch(2, (Task("e", 1, done=True), Task("f", 1, done=True))),
    ]
    assert [b.index for b in urgent_first(batches, 3)] == [1, 0, 2]


@given(
    priorities=st.lists(st.integers(1, 10), max_size=80),
    window=st.integers(1, 9),
    passed=st.integers(0, 20),
)
def test_no_batch_starves_and_none_is_lost(priorities: list[int], window: int, passed: int) -> None:
    out = [batch.index for batch in urgent_first(of(*priorities), window, passed)]
    assert sorted(out) == list(range(len(priorities)))
    for place, index in enumerate(out):
        assert index < place + max(window, 2), "no more than the window is read ahead"
        assert place <= index + passed, "the bound that is documented"


def test_a_starving_batch_goes_out_though_urgent_ones_never_end() -> None:
    feed = urgent_first(batched((Task(str(n), 10 if n == 0 else 1) for n in count()), 1), 4)
    places = [batch.index for batch in islice(feed, 40)]
    assert places.index(0) == 16


@pytest.mark.parametrize("seed", range(5))
def test_order_changes_no_result(seed: int) -> None:
    tasks = named(60, {7})
    executor = Scripted({"task 30": FOR_EVER, "task 41": 1}, seed=seed)
    report, seen = run(tasks, executor, 4, order="priority")
    assert report.digest == as_if_failed(tasks, {30}, 4).digest
    assert sorted(batch.index for batch, _ in seen) == list(range(15))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown order 'magic'"):
        run_batches([Task("a")], "validate", executor="sequential", order="magic")  # type: ignore[arg-type]


# At the end of the input --------------------------------------------------------------------------


class Waits(TaskBatchProcessor):
    """The first task dies once; the second is done when the first has been."""

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
def test_what_is_to_be_run_again_does_not_wait_for_the_last_batches(
    tmp_path: Path, backoff_s: float
) -> None:
    """The input has ended, and a batch under way ends only when the other has been run again."""
    report = run_batches(
        [Task("waits for it"), Task("dies once")], Waits(str(tmp_path)),
        executor="processes", workers=2, batch_size=1,
        recovery=Recovery(backoff_s=backoff_s, watchdog_s=30.0),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.retried, report.replaced) == (2, 0, 1, 1)
