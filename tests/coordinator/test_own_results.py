"""Results that a user's `process_batch` returns are checked."""

from dataclasses import replace

import pytest

from tests.coordinator.made_up import named
from todobatch import Hooks, Recovery, Task, run_batches
from todobatch.model import ProcessingResult, TaskFailure
from todobatch.processors import TaskBatchProcessor


class Odd(TaskBatchProcessor):
    """Returns a result that contradicts itself for one batch."""

    name = "odd"

    def __init__(self, **wrong: object) -> None:
        super().__init__()
        self.wrong = wrong

    def process_task(self, task: Task) -> str:
        return task.title

    def process_batch(self, tasks: object) -> ProcessingResult:
        result = super().process_batch(tasks)  # type: ignore[arg-type]
        if "task 3" not in {task.title for task in tasks.tasks}:  # type: ignore[attr-defined]
            return result
        return replace(result, **self.wrong)  # type: ignore[arg-type]

    async def process_batch_async(self, tasks: object) -> ProcessingResult:
        return self.process_batch(tasks)


@pytest.mark.parametrize("executor", ["sequential", "processes", "coroutines"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"duration": float("nan")}, "a duration of nan"),
        ({"duration": None}, "a duration of None"),
        ({"duration": -1.0}, "a duration of -1.0"),
        ({"duration": float("inf")}, "a duration of inf"),
        ({"started": None}, "None as `started`"),
        ({"tasks_processed": 3}, "3 tasks processed, of a batch of 1"),
        ({"tasks_processed": -1}, "-1 tasks processed"),
        ({"tasks_processed": 0.5}, "0.5 tasks processed"),
        ({"tasks_processed": 0}, "`success`, but only 0 of 1 tasks processed"),
        ({"digest": "abc"}, "'abc' as `digest`"),
        ({"digest": -1}, "-1 as `digest`"),
        ({"partial": [1]}, "as `partial`"),
        ({"error": 3}, "int as `error`"),
        ({"rows": ("a", "b", "c")}, "tuple of 3 as `rows`"),
        ({"rows": 7}, "int as `rows`"),
        ({"rows": (b"bytes",)}, "rows that are not JSON"),
        ({"failures": ("x",)}, "str among `failures`"),
        ({"failures": None}, "NoneType as `failures`"),
        ({"failures": (TaskFailure(99, "t", "e"),)}, "task 99, which is not in the batch"),
        ({"failures": (TaskFailure(3, "t", "e", "a.py"),)}, "a failure with str as `frame`"),  # type: ignore[arg-type]
        ({"frame": "a.py"}, "str as `frame`, which must be a Frame or None"),
        ({"failures": (TaskFailure(3, "t", "e"),)}, "1 tasks processed and 1 failed"),
    ],
)
def test_a_result_that_contradicts_itself_costs_its_own_task_and_is_explained(
    wrong: dict[str, object], said: str, executor: str
) -> None:
    seen: list[ProcessingResult] = []
    report = run_batches(
        named(6), Odd(**wrong), executor=executor, workers=1, batch_size=1,
        keep_rows=True, recovery=Recovery(retries=0), hooks=Hooks(on_result=seen.append),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.batches) == (6, 1, 6)
    (failed,) = [result for result in seen if not result.success]
    assert failed.batch == 3
    assert said in str(failed.failures[0].error)
    assert "process_batch returned" in str(failed.failures[0].error)
    assert sum(worker.busy_s for worker in report.worker_totals) >= 0
    assert report.result == {"rows": 5}
