"""A processor whose tasks fail by their titles."""

from collections.abc import Sequence

from todobatch.model import Json, Task
from todobatch.processors.base import TaskBatchProcessor


class Flaky(TaskBatchProcessor):
    """Fails each task whose title begins with "bad"; sums up priorities."""

    name = "flaky"
    splittable = True

    def process_task(self, task: Task) -> str:
        if task.title.startswith("bad"):
            raise ValueError(task.title)
        return task.title

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows), "priorities": sum(task.priority for task in tasks)}
