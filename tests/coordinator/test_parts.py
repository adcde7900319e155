"""Slow batches are run in parts: which batches, how large the parts are, and the result."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

from tests.coordinator.made_up import AT_ONCE, Slow, Took, named, run
from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, batched, run_batches
from todobatch.coordinator import parts as part_sizes
from todobatch.coordinator.parts import PartSizes
from todobatch.coordinator.recovery import Feed
from todobatch.executors.base import Capabilities
from todobatch.executors.worker import Worker
from todobatch.model import Batch, Json, ProcessingResult
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.catalogue import resolve
from todobatch.testing import Scripted


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


def test_an_own_process_batch_is_run_in_parts_only_if_it_is_splittable() -> None:
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
    """Overrides `summarise`, which may crash its process."""

    def process_task(self, task: Task) -> Json:
        return task.title

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows)}


def test_an_own_summarise_is_not_called_in_a_coordinator_that_must_not_crash() -> None:
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


def test_batches_of_other_items_than_tasks_are_split_too() -> None:
    numbers: Any = range(300)
    processor = Numbers(0.002)
    feed = Feed(batched(numbers), processor, sizes=PartSizes(2, copies=True, keep_rows=False))
    first = next(feed)
    worker = Worker(processor, "fake-1", "main", keep_rows=False)
    assert feed.settle(worker.work(first)) is None
    assert (len(first), len(next(feed))) == (1, 15)


def test_one_request_to_stop_is_enough() -> None:
    said = chain([False] * 3, [True], repeat(False))
    report = run_batches(
        named(400),
        Slow(),
        executor=Scripted(holds=1),
        workers=2,
        hooks=Hooks(stop=lambda: next(said)),
    )
    assert (report.interrupted, report.tasks) == (True, 100)


def test_two_threads_never_give_two_parts_one_number() -> None:
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
    """Claims that it copies batches to its workers."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, needs_pickling=True)


def test_a_batch_that_has_begun_is_finished_after_a_stop() -> None:
    begun = threading.Event()
    executor = Scripted(holds=2, on_run=lambda _batch: begun.set())
    report = run_batches(
        named(400), Slow(), executor=executor, workers=2, hooks=Hooks(stop=begun.is_set)
    )
    assert (report.interrupted, report.tasks, report.batches, report.failed) == (True, 100, 1, 0)


def test_a_part_in_which_tasks_fail_is_retried_with_retry_failed() -> None:
    tasks = named(40, bad={7})
    executor = Scripted(holds=2)
    report, _ = run(
        tasks, executor, 20, Took(1.0), split=True, recovery=Recovery(2, 0.0, retry_failed=True)
    )
    assert (report.failed, report.retried, executor.runs["bad 7"]) == (1, 2, 3)
    assert executor.runs["task 6"] == 1


class Numbers(Took):
    """Works on items that are not tasks."""

    def process_task(self, task: object) -> str:
        return str(task)

    splittable = True

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows)}


class OwnBatch(Slow):
    """Overrides `process_batch`, and returns no rows."""

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return replace(super().process_batch(tasks), rows=None)


class OwnBatchWithRows(Slow):
    """Overrides `process_batch`, and returns rows."""

    splittable = True

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return super().process_batch(tasks)


def test_a_row_that_is_not_json_costs_one_task() -> None:
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
