"""Exceptions that reach a worker's thread outside of its tasks, as those of a late timer do."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from todobatch.executors import EXECUTORS, elastic, threads
from todobatch.executors.worker import Worker
from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors import TaskValidator

IN_THREADS = ("threads", "stealing", "elastic")
COUNT = 40
STRUCK = 7
STRAY = "an exception reached the worker outside of its tasks: TimeoutError: late"

pytestmark = [
    pytest.mark.parametrize("name", IN_THREADS),
    pytest.mark.thread_unsafe(reason="classes are patched"),
]


def some() -> list[Batch]:
    return [Batch(n, (Task(f"task {n}"),), n) for n in range(COUNT)]


def errors(results: list[ProcessingResult]) -> dict[int, str]:
    """Return the errors by batch; every batch must have exactly one result."""
    assert sorted(result.batch for result in results) == list(range(COUNT))
    return {result.batch: result.error for result in results if result.error is not None}


def test_a_batch_after_which_it_strikes_fails_and_all_others_are_done(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Worker.work

    def strike(self: Worker, batch: Batch, *args: Any) -> ProcessingResult:
        result = work(self, batch, *args)
        if batch.index == STRUCK:
            raise TimeoutError("late")
        return result

    monkeypatch.setattr(Worker, "work", strike)
    with EXECUTORS[name].open(TaskValidator(), 2) as run:
        failed = errors(list(run(some())))
        assert STRAY in failed.pop(STRUCK)
        # Batches that waited behind it in the worker's hands may have to be run again, too.
        assert all(STRAY in error for error in failed.values())
        assert len(failed) < threads.MOST_IN_CHUNK
        monkeypatch.undo()
        assert errors(list(run(some()))) == {}


def test_every_worker_survives_one_between_batches(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "_chunk" if name == "stealing" else "_pull"
    kind: Any = EXECUTORS[name].pass_over  # type: ignore[attr-defined]
    kind = getattr(kind, "func", kind)
    step: Callable[..., Any] = getattr(kind, where)
    struck: set[int] = set()

    def strike(*args: Any) -> Any:
        if (me := threading.get_ident()) not in struck:
            struck.add(me)
            raise SystemExit(0)
        return step(*args)

    monkeypatch.setattr(kind, where, strike)
    assert errors(list(EXECUTORS[name].run(TaskValidator(), some(), workers=3))) == {}
    assert struck


def test_the_caller_notices_a_worker_that_ends_without_a_word(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SILENCE_S", 0.01)
    monkeypatch.setattr(elastic, "STALL_S", 0.01)

    def silent(self: threads.Pass, worker: Worker, share: int) -> None:
        raise SystemExit(0)

    with EXECUTORS[name].open(TaskValidator(), 2) as run:
        monkeypatch.setattr(threads.Pass, "work", silent)
        assert list(run(some())) == []
        monkeypatch.undo()
        assert errors(list(run(some()))) == {}


def test_a_worker_that_loses_a_run_is_given_it_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SILENCE_S", 0.01)
    monkeypatch.setattr(elastic, "STALL_S", 0.01)
    work = threads.Pass.work
    lost: set[int] = set()

    def lose(self: threads.Pass, worker: Worker, share: int) -> None:
        if share not in lost:
            lost.add(share)
            raise SystemExit(0)
        work(self, worker, share)

    monkeypatch.setattr(threads.Pass, "work", lose)
    assert errors(list(EXECUTORS[name].run(TaskValidator(), some(), workers=2))) == {}
    assert lost == {0, 1}


class Slow(TaskValidator):
    """Its tasks take longer than the caller waits before it looks whether a worker lives."""

    def process_task(self, task: Task) -> Json:
        threading.Event().wait(0.03)
        return super().process_task(task)


def test_a_worker_that_is_busy_with_a_second_run_is_not_taken_for_a_lost_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "SILENCE_S", 0.001)
    monkeypatch.setattr(elastic, "STALL_S", 0.001)
    with EXECUTORS[name].open(Slow(), 2) as run:
        for _ in range(20):
            results = list(run(some()[:2]))
            assert sorted((each.batch, each.error) for each in results) == [(0, None), (1, None)]


def test_a_fault_that_comes_again_and_again_reaches_the_caller(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MOST_STRAYS", 3)
    kind: Any = EXECUTORS[name].pass_over  # type: ignore[attr-defined]

    def broken(*args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(getattr(kind, "func", kind), "_process", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(EXECUTORS[name].run(TaskValidator(), some(), workers=2))


def test_batches_may_have_the_same_number(name: str) -> None:
    """As those have with which a sample warms its workers up."""
    twice = [*some(), *some()]
    results = list(EXECUTORS[name].run(TaskValidator(), twice, workers=2))
    assert sorted(result.batch for result in results) == sorted(batch.index for batch in twice)
