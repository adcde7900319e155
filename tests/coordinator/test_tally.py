"""Results add up to the totals of a run and of its workers."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.coordinator.made_up import cut, named, run
from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, run_batches
from todobatch.coordinator.recovery import Settled
from todobatch.coordinator.tally import Causes, Tally
from todobatch.errors import UsageError
from todobatch.executors.base import MOST_WORKERS_NAMED
from todobatch.model import (
    MAX_CAUSES_KEPT,
    MAX_TASKS_NAMED,
    Batch,
    FailureCause,
    Frame,
    ProcessingResult,
    TaskFailure,
    WorkerSeen,
)
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.base import failed_result
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


# Causes of failures ------------------------------------------------------------------------------


def _failed(errors: dict[int, str], frame: Frame | None = None) -> ProcessingResult:
    failures = tuple(TaskFailure(task, "t", error, frame) for task, error in errors.items())
    size = len(errors)
    return ProcessingResult("p", 0, 0.1, success=False, tasks=size, failures=failures)


def test_300_failures_of_one_line_are_one_cause_with_the_right_count() -> None:
    report = run_batches(named(1000, set(range(700, 1000))), Flaky(), executor="sequential")
    (cause,) = report.causes
    assert (cause.count, cause.tasks) == (300, tuple(range(700, 700 + MAX_TASKS_NAMED)))
    assert (report.failed, len(report.failures)) == (300, 100)
    assert cause.error == "ValueError: bad 700"
    assert cause.frame == report.failures[0].frame
    assert cause.frame is not None
    assert cause.frame.function == "Flaky.process_task"


def test_errors_of_another_type_or_line_are_another_cause() -> None:
    causes = Causes()
    here, there = Frame("a.py", 1, "f"), Frame("a.py", 2, "f")
    causes.add(0, _failed({0: "ValueError: a", 1: "KeyError: a", 2: "ValueError: b"}, here))
    causes.add(3, _failed({3: "ValueError: a"}, there))
    assert [(each.count, each.tasks) for each in causes.all()] == [
        (2, (0, 2)),
        (1, (1,)),
        (1, (3,)),
    ]


def test_without_a_line_only_numbers_may_differ() -> None:
    causes = Causes()
    causes.add(0, _failed({0: "process-71 died", 1: "process-8 died", 2: "process-9 hung"}))
    assert [each.count for each in causes.all()] == [2, 1]


def test_causes_are_bounded() -> None:
    causes = Causes()
    for n in range(3 * MAX_CAUSES_KEPT):
        causes.add(2 * n, _failed({2 * n: "same", 2 * n + 1: f"other {'x' * n}"}))
    counts = [each.count for each in causes.all()]
    assert counts == [3 * MAX_CAUSES_KEPT] + [1] * (MAX_CAUSES_KEPT - 1)


def test_tasks_that_a_users_result_does_not_name_count_too() -> None:
    causes = Causes()
    causes.add(20, failed_result("p", cut([5])[0], "no", frame=Frame("a.py", 1, "f")))
    (cause,) = causes.all()
    assert (cause.count, cause.tasks, cause.frame) == (5, (20,), Frame("a.py", 1, "f"))


def test_causes_go_on_in_a_resumed_job_and_a_journal_without_them_is_read() -> None:
    settled = Settled(Batch(0, (Task("a"),)), _failed({0: "ValueError: a"}, Frame("a.py", 1, "f")))
    tally = Tally(Flaky())
    tally.add(replace(settled, replaced=3, overran=2))
    state = json.loads(json.dumps(tally.state()))
    again = Tally(Flaky())
    again.restore(state)
    again.add(settled)
    totals = again.totals()
    assert totals["causes"] == (
        FailureCause(2, (0, 0), "ValueError: a", Frame("a.py", 1, "f")),
    )  # fmt: skip
    assert (totals["replaced"], totals["overran"]) == (3, 2)
    for name in ("causes", "overran"):
        del state[name]
    for failure in state["failures"]:
        del failure["frame"]
    older = Tally(Flaky())
    older.restore(state)
    assert (older.totals()["causes"], older.totals()["overran"]) == ((), 0)
    assert older.totals()["failures"][0].frame is None


def test_workers_replaced_at_the_deadline_are_counted_apart() -> None:
    recovery = Recovery(retries=1, backoff_s=0.0, deadline_s=1.0)
    report, _ = run(named(10), Scripted({"task 3": FOR_EVER}), 5, recovery=recovery)
    assert report.set_aside == 1
    assert (report.causes[0].count, report.causes[0].tasks) == (1, (3,))
    assert 0 <= report.overran <= report.replaced


def test_tasks_of_unfinished_batches_that_have_come_back_are_counted() -> None:
    seen: list[tuple[int, int]] = []
    run_batches(
        named(20, {15}), Flaky(), executor=Scripted({"task 3": FOR_EVER}), batch_size=20,
        recovery=Recovery(backoff_s=0.0), hooks=Hooks(on_part=lambda *pair: seen.append(pair)),
    )  # fmt: skip
    *before, last = seen
    assert before == sorted(before)
    assert before[-1][0] > 1
    assert before[-1][1] == 1
    assert last == (0, 0)


@pytest.mark.parametrize("executor", ["sequential", "coroutines"])
def test_a_batch_that_fails_as_a_whole_has_a_frame(executor: str) -> None:
    class Whole(TaskBatchProcessor):
        def process_task(self, task: Task) -> str:
            return task.title

        def process_batch(self, tasks: object) -> ProcessingResult:
            raise ValueError("whole")

        async def process_batch_async(self, tasks: object) -> ProcessingResult:
            raise ValueError("whole")

    result = next(iter(_run_whole(Whole(), executor)))
    assert result.frame is not None
    assert result.frame.function.rpartition(".")[2].startswith("process_batch")
    # The digest knows tasks and rows only.
    assert result.digest == 0


def _run_whole(processor: TaskBatchProcessor, executor: str) -> list[ProcessingResult]:
    from todobatch.executors import get

    return list(get(executor).run(processor, cut([3])))
