"""Results add up to the totals of a run and of its workers."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.coordinator.made_up import named, run
from tests.tools.flaky import Flaky
from todobatch import Recovery, Task, run_batches
from todobatch.coordinator.recovery import Settled
from todobatch.coordinator.tally import Tally
from todobatch.errors import UsageError
from todobatch.executors.base import MOST_WORKERS_NAMED
from todobatch.model import Batch, ProcessingResult, WorkerSeen
from todobatch.processors import TaskBatchProcessor
from todobatch.testing import FOR_EVER, Scripted


def test_an_unknown_digest_stays_unknown_in_a_journal() -> None:
    tally = Tally(Flaky())
    whole = Flaky().process_batch(Batch(0, (Task("a"),)))
    batch = Batch(0, (Task("a"),))
    tally.add(Settled(batch, replace(whole, digest=None)))
    again = Tally(Flaky())
    again.restore(json.loads(json.dumps(tally.state())))
    again.add(Settled(batch, whole))
    assert again.totals()["digest"] == ""


def test_an_error_in_finish_names_the_processor() -> None:
    class Unfinished(Flaky):
        def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
            raise KeyError("total")

    with pytest.raises(UsageError, match=r"`finish` failed .* KeyError: 'total'") as caught:
        Tally(Unfinished()).totals()
    assert caught.value.place == f"processor {Unfinished().processor_id}"


def test_the_totals_of_workers_include_parts() -> None:
    report, _ = run(named(20), Scripted({"task 3": FOR_EVER}), 20)
    assert sum(worker.tasks for worker in report.worker_totals) == 19


def test_the_totals_of_workers_stay_small_however_many_are_replaced() -> None:
    tally = Tally(Flaky())
    batch = Batch(0, (Task("a"),))
    result = Flaky().process_batch(batch)
    for n in range(MOST_WORKERS_NAMED + 10):
        tally.add(Settled(batch, replace(result, seen=WorkerSeen(f"process-{n}", pid=1 + n))))
    totals = tally.totals()["worker_totals"]
    assert len(totals) == MOST_WORKERS_NAMED + 1
    assert sum(worker.tasks for worker in totals) == MOST_WORKERS_NAMED + 10
    assert next(worker.tasks for worker in totals if worker.worker == "others") == 10


def test_the_stats_of_executors_are_added_up_over_rounds() -> None:
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
