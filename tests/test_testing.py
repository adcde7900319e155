"""The scripted executor that todobatch ships for tests; the contract suite runs it too."""

import pytest

from todobatch import run_batches
from todobatch.errors import UsageError
from todobatch.executors import stats_of
from todobatch.model import Batch, Task
from todobatch.processors import TaskValidator
from todobatch.testing import FOR_EVER, Scripted


def batches(count: int) -> list[Batch]:
    return [Batch(n, (Task(f"task {n}"),), n) for n in range(count)]


def test_a_task_breaks_its_batch_as_often_as_the_script_says() -> None:
    executor = Scripted(breaks={"task 2": 1}, holds=1)
    with executor.open(TaskValidator(), 1) as run:
        first, second = list(run(batches(4))), list(run(batches(4)))
    assert [result.batch for result in first if not result.success] == [2]
    assert all(result.success for result in second)
    assert executor.runs["task 2"] == 2


def test_the_kinds_of_failure_take_turns() -> None:
    names = {f"task {n}": FOR_EVER for n in range(4)}
    results = list(Scripted(breaks=names, holds=1).run(TaskValidator(), batches(4)))
    assert [result.fault for result in results] == ["deadline", None, "crashed", "deadline"]
    lossy = Scripted(breaks=names, holds=1, loses=True)
    assert len(list(lossy.run(TaskValidator(), batches(4)))) == 3


def test_results_come_back_in_an_order_drawn_from_the_seed() -> None:
    orders = {
        tuple(result.batch for result in Scripted(seed=seed).run(TaskValidator(), batches(9)))
        for seed in range(5)
    }
    assert len(orders) > 1
    assert all(sorted(order) == list(range(9)) for order in orders)


def test_it_holds_no_more_batches_than_the_script_says() -> None:
    executor = Scripted(holds=3)
    with executor.open(TaskValidator(), 2) as run:
        assert len(list(run(batches(9)))) == 9
        assert [each.worker for each in stats_of(run)] == ["scripted-1"]
    assert executor.most_in_flight == 3


def test_a_coordinator_sets_its_poison_task_aside() -> None:
    executor = Scripted(breaks={"task 3": FOR_EVER})
    tasks = [Task(f"task {n}") for n in range(8)]
    report = run_batches(tasks, "validate", executor=executor, batch_size=8)
    assert (report.tasks, report.failed, report.set_aside) == (8, 1, 1)


def test_it_refuses_what_every_executor_refuses() -> None:
    with pytest.raises(UsageError, match="0 workers"):
        list(Scripted().run(TaskValidator(), batches(1), workers=0))
