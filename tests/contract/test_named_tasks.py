"""Executors that isolate crashes name the task that broke a batch, if the framework runs it."""

from collections.abc import Callable, Sequence

import deadly_work
import pytest

from todobatch import Recovery, run_batches
from todobatch.executors import EXECUTORS, Executor
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.catalogue import resolve

Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]
ISOLATING = [name for name, each in EXECUTORS.items() if each.capabilities.isolates_crashes]
DEADLINE_S = 3.0  # far above what a batch here takes on the slowest machine
RETRIES = 1


@pytest.fixture(params=ISOLATING)
def isolating(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


def broken(
    executor: Executor, processor: TaskBatchProcessor, batches: list[Batch]
) -> ProcessingResult:
    """Run the batches on one worker, and return the result of the only one that broke."""
    results = executor.run(processor, batches, workers=1, deadline_s=DEADLINE_S)
    (found,) = [result for result in results if result.fault is not None]
    return found


@pytest.mark.parametrize(
    ("title", "fault", "cause"),
    [
        ("kill", "crashed", "its worker was killed (SIGKILL)"),
        ("kill after others", "crashed", "its worker was killed (SIGKILL)"),
        ("hang", "deadline", "it ran longer than its deadline of 3 s, and was stopped"),
    ],
)
def test_the_failed_result_names_the_task(
    isolating: Executor, titled: Titled, title: str, fault: str, cause: str
) -> None:
    titles = [["a", "b"]] * 40
    titles[30] = ["fork", "a", "b", title, "c"]
    result = broken(isolating, deadly_work.Deadly(), titled(titles))
    (failure,) = result.failures
    assert (result.batch, result.fault, result.tasks_processed) == (30, fault, 0)
    assert (failure.task, failure.title, failure.error) == (63, title, cause)
    assert f"batch 30 (tasks 60 to 64): task 63 {title!r}: {cause}" in str(result.error)


def test_a_batch_of_one_task_is_named_once(isolating: Executor, titled: Titled) -> None:
    result = broken(isolating, deadly_work.Deadly(), titled([["a"], ["kill"]]))
    assert [failure.task for failure in result.failures] == [1]
    assert str(result.error).endswith("batch 1 (tasks 1 to 1): its worker was killed (SIGKILL)")


def test_a_plain_function_has_its_tasks_named(isolating: Executor, titled: Titled) -> None:
    result = broken(isolating, resolve("deadly_work:handle"), titled([["a"], ["b", "kill"]]))
    assert [failure.task for failure in result.failures] == [2]


@pytest.mark.parametrize(
    ("processor", "title", "fault"),
    [
        (deadly_work.DeadlySummary(), "die at the end", "crashed"),
        (deadly_work.DeadlySummary(), "hang at the end", "deadline"),
        (deadly_work.OwnLoop(), "kill", "crashed"),
        (resolve("deadly_work:handle_async"), "kill", "crashed"),
    ],
)
def test_outside_of_known_tasks_none_is_named(
    isolating: Executor, titled: Titled, processor: TaskBatchProcessor, title: str, fault: str
) -> None:
    result = broken(isolating, processor, titled([["a", "b"], ["c", title, "d"]]))
    assert (result.batch, result.fault, result.failures) == (1, fault, ())


def test_a_task_that_hangs_and_one_that_crashes_cost_their_own_attempts_only(
    isolating: Executor,
) -> None:
    tasks = [Task(f"task {n}") for n in range(200)]
    tasks[37], tasks[151] = Task("hang"), Task("kill")
    report = run_batches(
        tasks, deadly_work.Deadly(), executor=isolating, workers=2, batch_size=50,
        recovery=Recovery(RETRIES, 0.0, deadline_s=DEADLINE_S),
    )  # fmt: skip
    assert {failure.task for failure in report.set_aside_tasks} == {37, 151}
    assert (report.tasks, report.failed, report.retried) == (200, 2, 2 * RETRIES)
    assert report.replaced == 2 + 2 * RETRIES


def test_many_poison_tasks_cost_their_own_attempts_only(isolating: Executor) -> None:
    poison = set(range(5, 100, 12))
    tasks = [Task("kill" if n in poison else f"task {n}") for n in range(100)]
    report = run_batches(
        tasks, deadly_work.Deadly(), executor=isolating, workers=2, batch_size=50,
        recovery=Recovery(RETRIES, 0.0),
    )  # fmt: skip
    assert {failure.task for failure in report.set_aside_tasks} == poison
    assert report.replaced == len(poison) * (1 + RETRIES)


def test_a_processor_with_a_loop_of_its_own_is_still_searched(isolating: Executor) -> None:
    tasks = [Task("kill" if n == 5 else f"task {n}") for n in range(8)]
    report = run_batches(
        tasks, deadly_work.OwnLoop(), executor=isolating, workers=2, batch_size=8,
        recovery=Recovery(0, 0.0),
    )  # fmt: skip
    assert [failure.task for failure in report.set_aside_tasks] == [5]
    assert report.replaced == 4  # in batches of 8, 4, 2 and 1 tasks
