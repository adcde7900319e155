"""Every executor keeps the contract about results, on every measured interpreter."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import contract_work
import pytest

from todobatch import batched, run_batches
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import (
    Executor,
)
from todobatch.model import Batch, Task
from todobatch.processors import WORKLOADS, TaskBatchProcessor, TaskValidator, resolve

from .conftest import TODAY, WRAPPED

Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]


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
    for result in results[:2]:
        frame = result.failures[0].frame
        assert frame is not None
        assert (Path(frame.file).name, frame.line > 0) == ("contract_work.py", True)
        assert frame.function == "Picky.process_task"


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
    """Such a row could use up the stack, which ends the process; threads have small stacks."""
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
    assert "pickl" in caught.value.remedy


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


def test_no_batches_give_no_results(executor: Executor) -> None:
    assert list(executor.run(TaskValidator(today=TODAY), [], workers=2)) == []


def test_rows_stay_where_they_were_made_unless_asked_for(
    executor: Executor, titled: Titled
) -> None:
    for keep in (False, True):
        (result,) = executor.run(
            contract_work.Picky(), titled([["a", "b"]]), workers=1, keep_rows=keep
        )
        assert result.rows == (("a", "b") if keep else None)


def test_no_tiny_batch_is_lost_or_done_twice(executor: Executor, tasks: list[Task]) -> None:
    many = [task for _ in range(10) for task in tasks]
    processor = TaskValidator(today=TODAY)
    expected = run_batches(many, processor, executor="sequential", batch_size=1)
    report = run_batches(many, processor, executor=executor, workers=3, batch_size=1)
    assert (report.batches, report.digest) == (2300, expected.digest)


def test_an_empty_batch_gives_a_result_too(executor: Executor) -> None:
    batches = [Batch(n, (), 0) for n in range(9)]
    results = list(executor.run(TaskValidator(today=TODAY), batches, workers=2))
    assert sorted(result.batch for result in results) == list(range(9))
    assert all(result.success and result.tasks == 0 for result in results)
