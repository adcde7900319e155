"""A batch in parts: what a coordinator needs to look for the tasks that break their worker.

The digest and the aggregate of a batch are made from the rows of all its tasks, and rows stay in
the worker unless they are wanted. Those of a part are wanted always: they come back in the part's
`partial`, and the coordinator puts the whole batch's result together from them, as if its workers
had never been lost. A part is a `Batch` with an index below 0.
"""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor

_ROWS = "rows"
_PARTIAL = "partial"


class InParts(TaskBatchProcessor):
    """Another processor as it is, but that results of parts hold their rows."""

    def __init__(self, inner: TaskBatchProcessor) -> None:
        self.inner = inner
        self.processor_id = inner.processor_id

    def process_task(self, task: Task) -> Json:
        """As the inner processor."""
        return self.inner.process_task(task)

    def process_batch(self, tasks: Any) -> ProcessingResult:
        """As the inner processor; with the rows in `partial` for a part."""
        return _with_rows(tasks, self.inner.process_batch(tasks))

    async def process_batch_async(self, tasks: Any) -> ProcessingResult:
        """As the inner processor; with the rows in `partial` for a part."""
        return _with_rows(tasks, await self.inner.process_batch_async(tasks))


def rows_of(part: ProcessingResult) -> tuple[Json, ...] | None:
    """The rows of a part's result; None where a `process_batch` of the user's own gave none."""
    rows: tuple[Json, ...] | None = part.partial.get(_ROWS)
    return rows


def partial_of(part: ProcessingResult) -> dict[str, Any]:
    """The aggregate that the processor gave for the part."""
    return dict(part.partial.get(_PARTIAL) or {})


def _with_rows(tasks: Any, result: ProcessingResult) -> ProcessingResult:
    if not isinstance(tasks, Batch) or tasks.index >= 0:
        return result
    if not isinstance(result, ProcessingResult) or (result.rows is None and not result.partial):
        return result  # the part failed as a whole: there is nothing to keep
    kept = {_ROWS: result.rows, _PARTIAL: dict(result.partial)}
    return replace(result, partial=MappingProxyType(kept))
