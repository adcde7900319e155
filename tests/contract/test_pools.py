"""Every executor keeps the contract about workers: number, order, reuse, limits, deadlines."""

import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import contract_work
import pytest

from todobatch import batched, runtime
from todobatch.errors import UsageError
from todobatch.executors import (
    EXECUTORS,
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    Executor,
)
from todobatch.model import Batch, Task
from todobatch.processors import TaskValidator
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


def test_batches_are_read_only_as_workers_become_free(executor: Executor) -> None:
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


def test_few_long_batches_are_read_ahead(executor: Executor) -> None:
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
    """A worker is killed only on executors that promise to lose nothing else.

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


@pytest.mark.parametrize("name", sorted(set(EXECUTORS) - {"sequential", "coroutines"}))
def test_no_batch_is_stuck_behind_a_long_one_of_its_message(name: str, tmp_path: Path) -> None:
    """A worker gets several tiny batches in a message; the last two wait for each other."""
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
