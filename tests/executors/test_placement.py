"""With placement ``"spread"``, each worker stays on one CPU."""

import os
import signal

import pytest

from todobatch import runtime
from todobatch.errors import UsageError
from todobatch.executors import EXECUTORS, Executor
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import TaskValidator
from todobatch.processors.synthetic import IoWait

PLACING = [e for e in EXECUTORS.values() if e.places and e.available() is None]


def run(executor: Executor, workers: int) -> list[ProcessingResult]:
    batches = [Batch(n, (Task("a"),), n) for n in range(100)]
    return list(executor.run(IoWait(), batches, workers=workers))  # so that none does it all


@pytest.mark.parametrize("executor", PLACING, ids=lambda executor: executor.name)
def test_each_worker_stays_on_one_cpu_and_all_are_used_in_turn(executor: Executor) -> None:
    before = runtime.cpus_allowed()
    spread = executor.placed("spread")
    where = {r.seen.worker: r.seen.allowed for r in run(spread, len(before) + 1)}
    assert all(len(cpus) == 1 and cpus[0] in before for cpus in where.values())
    if executor.name != "elastic":  # which lets fewer work where that is enough
        assert {cpus[0] for cpus in where.values()} == set(before)
    assert runtime.cpus_allowed() == before
    assert executor.placement == "none"
    assert {r.seen.allowed for r in run(executor, 2)} == {before}


def test_a_replaced_worker_takes_the_cpu_of_the_one_that_died() -> None:
    batches = [Batch(n, (Task("a"),), n) for n in range(40)]
    spread = EXECUTORS["processes"].placed("spread")
    with spread.open(TaskValidator(), 1) as run_batches:
        first = {(r.seen.pid, r.seen.allowed) for r in run_batches(batches)}
        ((pid, cpus),) = first
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        ((other, again),) = {(r.seen.pid, r.seen.allowed) for r in run_batches(batches)}
    assert other != pid
    assert again == cpus


def test_what_cannot_be_placed_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sequential", "coroutines"):
        with pytest.raises(UsageError, match=f"the executor {name} cannot") as caught:
            EXECUTORS[name].placed("spread")
        assert "threads" in caught.value.remedy
        assert EXECUTORS[name].placed("none").placement == "none"
    with pytest.raises(UsageError, match="'packed'"):
        EXECUTORS["threads"].placed("packed")  # type: ignore[arg-type]
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(UsageError, match="cannot keep a thread on a CPU"):
        EXECUTORS["threads"].placed("spread")
