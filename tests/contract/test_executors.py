"""What every executor promises, checked on each of them, on every measured interpreter."""

import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter

import contract_work
import pytest

from todobatch import runtime
from todobatch.coordinator import batched, run_batches
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.executors import (
    EXECUTORS,
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    Executor,
    WorkerStats,
    Wrapped,
    stats_of,
)
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import WORKLOADS, TaskBatchProcessor, TaskValidator, resolve
from todobatch.processors.synthetic import IoWait

from .conftest import EVERY, TODAY, WRAPPED

START_METHODS = {
    "sequential": {"main"},
    "threads": {"thread"},
    "interpreters": {"interpreter"},
    "processes": {"forkserver", "spawn"},
    "coroutines": {"coroutine"},
    "stealing": {"thread"},
    "elastic": {"thread"},
    "wrapped threads": {"thread"},
    "wrapped processes": {"spawn"},
    "scripted": {"main"},
}
Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]


def test_every_executor_works_here_or_says_why_not() -> None:
    reasons = {name: executor.available() for name, executor in EXECUTORS.items()}
    unavailable = {name: reason for name, reason in reasons.items() if reason}
    if sys.version_info >= (3, 14):
        assert unavailable == {}
    else:
        assert list(unavailable) == ["interpreters"]
        assert "needs Python 3.14; this is 3." in str(unavailable["interpreters"])


def test_every_batch_gives_exactly_one_result(executor: Executor, tasks: list[Task]) -> None:
    batches = list(batched(tasks, 7))
    results = list(executor.run(TaskValidator(today=TODAY), batches, workers=3))
    assert sorted(result.batch for result in results) == [batch.index for batch in batches]
    assert sum(result.tasks_processed for result in results) == len(tasks)
    assert all(result.success and result.error is None for result in results)
    assert all(result.duration > 0 for result in results)


@pytest.mark.parametrize("workload", sorted(set(WORKLOADS) - {"io-wait", "hybrid"}))
def test_every_executor_gives_the_sequential_output(
    executor: Executor, tasks: list[Task], workload: str
) -> None:
    processor = resolve(workload, today=TODAY)
    expected = run_batches(tasks, processor, executor="sequential", workers=1, batch_size=20)
    report = run_batches(tasks, processor, executor=executor, workers=3, batch_size=20)
    assert (report.digest, report.result) == (expected.digest, expected.result)
    assert (report.tasks, report.failed, report.batches) == (230, 0, 12)


@pytest.mark.parametrize("workload", ["io-wait", "hybrid", "contract_work:plain",
                                      "contract_work:awaiting"])  # fmt: skip
def test_waiting_and_users_workloads_agree_too(
    executor: Executor, tasks: list[Task], workload: str
) -> None:
    processor = resolve(workload, today=TODAY)
    expected = run_batches(tasks[:12], processor, executor="sequential", workers=1, batch_size=4)
    report = run_batches(tasks[:12], processor, executor=executor, workers=2, batch_size=4)
    assert report.digest == expected.digest
    assert report.failed == expected.failed == 0


def test_a_changed_output_changes_the_digest(tasks: list[Task]) -> None:
    digests = set()
    for changed in (tasks, tasks[:-1], [*tasks[1:], tasks[0]], [Task("x"), *tasks[1:]]):
        digests.add(run_batches(changed, "report", executor="sequential").digest)
    assert len(digests) == 4


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"sequential", "scripted"}))
def test_workers_run_at_the_same_time(name: str, tmp_path: Path) -> None:
    executor = EVERY[name]
    if reason := executor.available():
        assert "needs Python 3.14" in reason
        return
    batches = [Batch(n, (Task(str(tmp_path), priority=n),), n) for n in range(2)]
    results = list(executor.run(contract_work.Meeting(), batches, workers=2))
    assert [result.error for result in results] == [None, None]
    assert len({result.seen.worker for result in results}) == 2


def test_a_failing_task_is_named_and_the_others_are_done(
    executor: Executor, titled: Titled
) -> None:
    batches = titled([["a", "raise", "b"], ["exit", "c"], ["d"]])
    results = sorted(
        executor.run(contract_work.Picky(), batches, workers=2, keep_rows=True),
        key=lambda result: result.batch,
    )
    assert [result.tasks_processed for result in results] == [2, 1, 1]
    assert [result.success for result in results] == [False, False, True]
    assert results[0].rows == ("a", None, "b")
    assert results[0].failures[0].task == 1
    assert results[0].failures[0].error == "ValueError: no such project"
    assert results[0].error is not None
    for part in ("processor picky", "batch 0", "tasks 0 to 2", "'raise'", "no such project"):
        assert part in results[0].error
    assert results[1].failures[0].task == 3
    assert "SystemExit" in results[1].failures[0].error


def test_a_row_that_is_not_json_fails_its_batch_and_is_named(
    executor: Executor, titled: Titled
) -> None:
    results = list(
        executor.run(contract_work.Picky(), titled([["a", "no json"], ["b"]]), workers=2)
    )
    (failed,) = [result for result in results if not result.success]
    assert failed.batch == 0
    assert "'no json' is not JSON" in str(failed.error)


def test_a_row_nested_too_deeply_fails_its_batch_and_no_worker(
    executor: Executor, titled: Titled
) -> None:
    """A stack that is used up would end the process, and threads have less of it than others."""
    results = list(executor.run(contract_work.Picky(), titled([["a", "deep"], ["b"]]), workers=2))
    (failed,) = [result for result in results if not result.success]
    assert (len(results), failed.batch, failed.fault) == (2, 0, None)
    assert "the row of task 'deep' is not JSON: RecursionError" in str(failed.error)


def test_a_processor_that_raises_fails_its_batches_and_nothing_else(
    executor: Executor, titled: Titled
) -> None:
    results = list(executor.run(contract_work.Raising(), titled([["a"], ["b"], ["c"]]), workers=2))
    assert len(results) == 3
    for result in results:
        assert not result.success
        assert result.tasks_processed == 0
        assert f"batch {result.batch} " in str(result.error)
        assert "RuntimeError: the processor itself is broken" in str(result.error)


@pytest.mark.parametrize("processor", [contract_work.Returning(), contract_work.Cancelling()])
def test_no_batch_is_lost_whatever_a_processor_does(
    executor: Executor, titled: Titled, processor: TaskBatchProcessor
) -> None:
    results = list(executor.run(processor, titled([["a"], ["b", "c"]]), workers=2))
    assert sorted((result.batch, result.tasks) for result in results) == [(0, 1), (1, 2)]
    assert not any(result.success for result in results)


def test_a_processor_that_cannot_be_sent_is_refused_with_a_remedy(
    executor: Executor, titled: Titled
) -> None:
    if not executor.capabilities.needs_pickling:
        assert len(list(executor.run(contract_work.Unpicklable(), titled([["a"]])))) == 1
        return
    with pytest.raises(ExecutorUnavailableError, match="this one stays here") as caught:
        list(executor.run(contract_work.Unpicklable(), titled([["a"]])))
    assert "pickle" in caught.value.remedy


def test_what_reading_the_input_raises_reaches_the_caller(
    executor: Executor, titled: Titled
) -> None:
    class BrokenDiskError(Exception):
        pass

    def feed() -> Iterator[Batch]:
        yield from titled([["a"], ["b"]])
        raise BrokenDiskError

    results: list[int] = []
    run = executor.run(contract_work.Picky(), feed(), workers=2)
    with pytest.raises(BrokenDiskError):
        results.extend(result.batch for result in run)  # what came before the error is kept
    assert results in ([0, 1], [1, 0]) or executor.name in {"coroutines", "scripted", *WRAPPED}


def test_batches_are_taken_only_as_workers_become_free(executor: Executor) -> None:
    taken = itertools.count()
    latest = 0

    def endless() -> Iterator[Batch]:
        nonlocal latest
        for latest in taken:
            yield Batch(latest, (Task("a"),), latest)

    workers = 2
    with executor.open(TaskValidator(today=TODAY), workers) as run:
        results = run(endless())
        for received, _ in enumerate(itertools.islice(results, 200), start=1):
            assert latest + 1 - received <= MAX_IN_FLIGHT * workers
        results.close()  # type: ignore[attr-defined]
    assert received == 200
    assert latest < 200 + MAX_IN_FLIGHT * workers


def test_of_long_batches_few_are_taken_ahead(executor: Executor) -> None:
    latest = 0

    def endless() -> Iterator[Batch]:
        nonlocal latest
        for latest in itertools.count():
            yield Batch(latest, (Task("a"),), latest)

    workers = 2
    with executor.open(IoWait(today=TODAY), workers) as run:
        results = run(endless())
        for received, _ in enumerate(itertools.islice(results, 30), start=1):
            assert latest + 1 - received <= 8 * workers
        results.close()  # type: ignore[attr-defined]
    assert received == 30


@pytest.mark.thread_unsafe(reason="it counts the threads of the process")
def test_leaving_early_ends_the_workers(executor: Executor, tasks: list[Task]) -> None:
    before = threading.active_count()
    with executor.open(TaskValidator(today=TODAY), 3) as run:
        next(iter(run(batched(tasks, 5))))
    assert threading.active_count() <= before


def test_a_pool_can_be_used_again(executor: Executor, tasks: list[Task]) -> None:
    with executor.open(TaskValidator(today=TODAY), 2) as run:
        first = sorted((r.batch, r.digest) for r in run(batched(tasks, 50)))
        second = sorted((r.batch, r.digest) for r in run(batched(tasks, 50)))
    assert first == second
    assert len(first) == 5


def test_no_batches_give_no_results(executor: Executor) -> None:
    assert list(executor.run(TaskValidator(today=TODAY), [], workers=2)) == []


def test_more_workers_than_batches_is_fine(executor: Executor, titled: Titled) -> None:
    results = list(executor.run(contract_work.Picky(), titled([["a"]]), workers=5))
    assert [result.success for result in results] == [True]


@pytest.mark.parametrize("workers", [0, -1, MAX_WORKERS + 1, 10_000])
def test_a_senseless_number_of_workers_is_refused(executor: Executor, workers: int) -> None:
    with (
        pytest.raises(UsageError, match=f"{workers} workers") as caught,
        executor.open(TaskValidator(today=TODAY), workers),
    ):
        pass
    assert "CPUs" in caught.value.remedy


def test_rows_stay_where_they_were_made_unless_asked_for(
    executor: Executor, titled: Titled
) -> None:
    for keep in (False, True):
        (result,) = executor.run(
            contract_work.Picky(), titled([["a", "b"]]), workers=1, keep_rows=keep
        )
        assert result.rows == (("a", "b") if keep else None)


def test_workers_report_what_they_are(executor: Executor, tasks: list[Task]) -> None:
    results = list(executor.run(TaskValidator(today=TODAY), batched(tasks, 10), workers=2))
    for result in results:
        assert (result.seen.pid or 0) > 0
        assert result.seen.gil_before == result.seen.gil_after == runtime.gil_enabled()
        assert result.seen.cpu is None or result.seen.cpu >= 0
        assert result.seen.allowed == runtime.cpus_allowed()
        assert result.seen.start_method in START_METHODS[executor.name]
        assert result.fault is None
    assert 1 <= len({result.seen.worker for result in results}) <= 2


@pytest.mark.parametrize("deadline", [0.0, -1.0, float("nan")])
def test_a_senseless_deadline_is_refused(executor: Executor, deadline: float) -> None:
    with (
        pytest.raises(UsageError, match="deadline"),
        executor.open(TaskValidator(today=TODAY), 1, deadline_s=deadline),
    ):
        pass


def test_a_deadline_that_cannot_be_kept_is_refused_with_a_remedy(executor: Executor) -> None:
    if executor.capabilities.enforces_deadlines:
        assert executor.name in {"processes", "scripted"}
        return
    with (
        pytest.raises(UsageError, match=f"{executor.name} cannot keep a deadline") as caught,
        executor.open(TaskValidator(today=TODAY), 1, deadline_s=1.0),
    ):
        pass
    assert "processes" in caught.value.remedy


def test_capabilities_are_what_the_faults_show(executor: Executor, titled: Titled) -> None:
    """A killed worker: tried only where it is promised that nothing else is lost.

    `Scripted` imitates crashes in this process: see tests/test_testing.py.
    """
    if executor.name == "scripted":
        return
    if not executor.capabilities.isolates_crashes:
        in_one = {"sequential", "threads", "stealing", "elastic", "interpreters", "coroutines"}
        assert executor.name in {*in_one, *WRAPPED}
        return
    titles = [[f"{n}", f"{n}+"] for n in range(30)]
    titles[11] = ["fine", "kill"]
    results = list(executor.run(contract_work.Picky(), titled(titles), workers=3))
    assert sorted(result.batch for result in results) == list(range(30))
    (failed,) = [result for result in results if not result.success]
    assert failed.batch == 11
    assert "SIGKILL" in str(failed.error)
    assert failed.fault == "crashed"


def test_the_gil_decides_what_threads_promise() -> None:
    assert EXECUTORS["threads"].capabilities.cpu_parallel is not runtime.gil_enabled()


def test_a_run_may_be_called_over_and_over(executor: Executor, titled: Titled) -> None:
    with executor.open(contract_work.Picky(), 2) as run:
        for count in (0, 1, 5, 0, 40):
            results = list(run(titled([["a"]] * count)))
            assert sorted(result.batch for result in results) == list(range(count))


def test_a_left_run_is_followed_by_a_whole_one(executor: Executor, titled: Titled) -> None:
    with executor.open(contract_work.Picky(), 2) as run:
        for _ in range(5):
            left = run(titled([[f"{n}"] for n in range(60)]))
            next(left)
            left.close()  # type: ignore[attr-defined]
        results = list(run(titled([["a", "b"], ["c"]])))
    assert sorted((result.batch, result.tasks) for result in results) == [(0, 2), (1, 1)]


def test_no_tiny_batch_is_lost_or_done_twice(executor: Executor, tasks: list[Task]) -> None:
    many = [task for _ in range(10) for task in tasks]
    processor = TaskValidator(today=TODAY)
    expected = run_batches(many, processor, executor="sequential", batch_size=1)
    report = run_batches(many, processor, executor=executor, workers=3, batch_size=1)
    assert (report.batches, report.digest) == (2300, expected.digest)


@pytest.mark.parametrize("name", sorted(set(EXECUTORS) - {"sequential", "coroutines"}))
def test_no_batch_is_stuck_behind_a_long_one_it_was_handed_out_with(
    name: str, tmp_path: Path
) -> None:
    """Tiny batches go to a worker several at once; the last two wait for each other."""
    if EXECUTORS[name].available() is not None:
        return  # another test holds which work here
    count = 600
    batches = [
        Batch(n, (Task(str(tmp_path), priority=n, done=n < count - 2),), n) for n in range(count)
    ]
    with EXECUTORS[name].open(contract_work.Meeting(), 2) as run:
        for _ in range(5):
            assert sum(result.success for result in run(batches)) == count
            for met in tmp_path.iterdir():
                met.unlink()


def test_an_empty_batch_gives_a_result_too(executor: Executor) -> None:
    batches = [Batch(n, (), 0) for n in range(9)]
    results = list(executor.run(TaskValidator(today=TODAY), batches, workers=2))
    assert sorted(result.batch for result in results) == list(range(9))
    assert all(result.success and result.tasks == 0 for result in results)


def test_what_workers_did_is_data(executor: Executor, titled: Titled) -> None:
    with executor.open(contract_work.Picky(), 3) as run:
        assert stats_of(run) == ()
        for count in (50, 1):  # each run has its own account
            begun = perf_counter()
            results = list(run(titled([["a"]] * count)))
            outside = perf_counter() - begun
            check_account(executor, results, stats_of(run), outside)


def check_account(
    executor: Executor,
    results: Sequence[ProcessingResult],
    stats: Sequence[WorkerStats],
    outside: float,
) -> None:
    """Busy covers the worker's batches; all its time is the run's, less than `outside` seconds."""
    tiny = 1e-6
    by_worker: dict[str, float] = dict.fromkeys((each.worker for each in stats), 0.0)
    for result in results:
        by_worker[result.seen.worker] += result.duration
    if not isinstance(executor, Wrapped):  # which knows those only that gave a result
        assert len(stats) == (1 if executor.name in {"sequential", "scripted"} else 3)
    workers = {result.seen.worker for result in results}
    inside = max(r.started + r.duration for r in results) - min(r.started for r in results)
    for each in stats:
        whole = each.busy_s + each.idle_s + each.parked_s
        assert by_worker[each.worker] - tiny <= each.busy_s <= whole
        assert inside - tiny <= whole <= outside + tiny
        assert each.busy_s == 0 or each.worker in workers
        assert min(each.idle_s, each.parked_s) >= 0
        assert each.efficiency == pytest.approx(each.busy_s / whole)
        assert each.stolen >= each.steals >= 0


def test_a_worker_that_dies_and_who_replaces_it_have_an_account_each(titled: Titled) -> None:
    titles = [[f"{n}"] for n in range(30)]
    titles[11] = ["kill"]
    with EXECUTORS["processes"].open(contract_work.Picky(), 2) as run:
        begun = perf_counter()
        results = list(run(titled(titles)))
        outside = perf_counter() - begun
        stats = {each.worker: each for each in stats_of(run)}
    assert len(stats) == 3
    assert {result.seen.worker for result in results if result.success} <= set(stats)
    assert all(each.busy_s + each.idle_s <= outside for each in stats.values())


def test_a_worker_without_a_stock_steals_from_another(tmp_path: Path) -> None:
    """Two batches that wait for each other are in one stock: only a thief can run the second."""
    batches = [Batch(n, (Task(str(tmp_path), priority=n),), n) for n in range(2)]
    with EXECUTORS["stealing"].open(contract_work.Meeting(), 2) as run:
        assert all(result.success for result in run(batches))
        stats = stats_of(run)
    assert sum(each.steals for each in stats) == 1
    assert sum(each.stolen for each in stats) == 1


def test_a_wrapped_pool_that_breaks_says_what_it_lost(titled: Titled) -> None:
    titles = [[f"{n}"] for n in range(30)]
    titles[11] = ["kill"]
    pool = WRAPPED["wrapped processes"]
    results = list(pool.run(contract_work.Picky(), titled(titles), workers=2))
    assert sorted(result.batch for result in results) == list(range(30))
    lost = {result.batch for result in results if result.fault == "crashed"}
    assert 11 in lost
    assert len(lost) <= 6
    assert all(result.success for result in results if result.batch not in lost)
