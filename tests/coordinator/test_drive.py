"""The coordinator: totals, isolation, streaming, stopping, `run_batch_processing_system`."""

import itertools
import threading
import tracemalloc
from collections.abc import Iterator

import pytest

from todobatch import (
    Hooks,
    ProcessingResult,
    Task,
    ThreadSafeResultCollector,
    batched,
    run_batch_processing_system,
    run_batches,
)
from todobatch.errors import UsageError
from todobatch.model import MAX_FAILURES_KEPT
from todobatch.processors.base import TaskBatchProcessor


class Flaky(TaskBatchProcessor):
    name = "flaky"

    def process_task(self, task: Task) -> str:
        if task.priority == 9:
            raise ValueError(task.title)
        return task.title


def test_tasks_are_cut_into_batches_that_know_their_place() -> None:
    batches = list(batched((Task(str(n)) for n in range(7)), 3))
    assert [(b.index, b.first, len(b)) for b in batches] == [(0, 0, 3), (1, 3, 3), (2, 6, 1)]


def test_a_batch_size_of_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch cannot have 0 tasks"):
        run_batches([Task("a")], "validate", batch_size=0)


def test_a_function_is_a_processor_and_anything_else_is_refused_by_its_parameter() -> None:
    report = run_batches([Task("a"), Task("bc")], lambda task: len(task.title), batch_size=1)
    assert (report.tasks, report.failed, report.result) == (2, 0, {"rows": 2})
    assert run_batches([Task("a")], Flaky()).result == {"rows": 1}
    with pytest.raises(UsageError, match="`processor`: 3 is of type int and cannot be called"):
        run_batches([Task("a")], 3)  # type: ignore[arg-type]


def test_failures_are_counted_and_named_and_stop_nothing() -> None:
    tasks = [Task(str(n), priority=9 if n in {5, 17} else 5) for n in range(40)]
    report = run_batches(tasks, Flaky(), executor="threads", workers=2, batch_size=10)
    assert (report.tasks, report.failed, report.batches, report.failed_batches) == (40, 2, 4, 2)
    assert sorted(failure.task for failure in report.failures) == [5, 17]
    assert ["processor flaky, batch" in error for error in report.errors] == [True, True]
    assert report.result == {"rows": 38}


def test_only_the_first_failures_are_kept_but_all_are_counted() -> None:
    tasks = [Task("x", priority=9)] * (MAX_FAILURES_KEPT + 50)
    report = run_batches(tasks, Flaky(), executor="sequential", batch_size=7)
    assert report.failed == MAX_FAILURES_KEPT + 50
    assert len(report.failures) == MAX_FAILURES_KEPT


@pytest.mark.thread_unsafe(reason="tracemalloc counts what all threads take")
def test_a_long_stream_needs_no_more_memory_than_a_short_one() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            report = run_batches(
                (Task(f"task {n}") for n in range(count)), "validate", executor="threads"
            )
            assert report.tasks == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1_000)  # imports and caches
    assert peak(40_000) < 2 * peak(4_000)


def test_a_stop_hands_out_no_more_and_finishes_the_batches_in_flight() -> None:
    stop = threading.Event()
    results: list[ProcessingResult] = []

    def take(result: ProcessingResult) -> None:
        results.append(result)
        if len(results) == 3:
            stop.set()

    report = run_batches(
        (Task(str(n)) for n in itertools.count()),
        "validate",
        executor="threads",
        workers=2,
        batch_size=1,
        hooks=Hooks(on_result=take, stop=stop.is_set),
    )
    assert report.interrupted
    assert report.tasks == len(results) >= 3


@pytest.mark.thread_unsafe(reason="it counts the threads of the process")
def test_ready_and_done_are_called_while_the_workers_are_up() -> None:
    seen: list[tuple[str, int]] = []

    def workers() -> int:
        return sum(thread.name.startswith("todobatch-") for thread in threading.enumerate())

    run_batches(
        [Task("a")],
        "validate",
        executor="threads",
        workers=3,
        hooks=Hooks(
            on_ready=lambda: seen.append(("ready", workers())),
            on_done=lambda: seen.append(("done", workers())),
        ),
    )
    assert seen == [("ready", 3), ("done", 3)]
    assert workers() == 0


@pytest.mark.thread_unsafe(reason="it counts the threads of the process")
def test_an_exception_in_the_callers_callback_ends_the_workers_and_is_raised() -> None:
    def take(result: ProcessingResult) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_batches([Task("a")] * 500, "validate", batch_size=1, hooks=Hooks(on_result=take))
    assert not [t for t in threading.enumerate() if t.name.startswith("todobatch-")]


def test_worker_totals_add_up() -> None:
    report = run_batches([Task("a")] * 100, "validate", workers=4, batch_size=5)
    assert sum(worker.tasks for worker in report.worker_totals) == 100
    assert sum(worker.batches for worker in report.worker_totals) == report.batches == 20


def test_the_documents_system_returns_results_and_total_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results, total = run_batch_processing_system(4, 10)
    assert capsys.readouterr().out.startswith("Free-threading active: ")
    assert [result.tasks_processed for result in results] == [10] * 4
    assert sorted(result.batch for result in results) == [0, 1, 2, 3]
    assert 0 < max(result.duration for result in results) <= total


def test_the_collector_loses_nothing_under_threads() -> None:
    collector = ThreadSafeResultCollector()
    start = threading.Barrier(8)

    def add(worker: int) -> None:
        start.wait()
        for n in range(500):
            collector.add_result(ProcessingResult(f"{worker}", n, 0.0, success=True))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collector.get_count() == len(collector.get_all_results()) == 4_000


def test_the_collectors_copy_is_a_copy() -> None:
    collector = ThreadSafeResultCollector()
    collector.add_result(ProcessingResult("p", 1, 0.0, success=True))
    collector.get_all_results().clear()
    assert collector.get_count() == 1


def test_batches_may_come_ready_made() -> None:
    def batches() -> Iterator[object]:
        yield from batched([Task("a"), Task("b")], 1)

    report = run_batches(batches(), "validate", executor="sequential")  # type: ignore[arg-type]
    assert (report.tasks, report.batches) == (2, 2)
