"""Workloads with a known cost profile, and the wrapper for a user's own function."""

import asyncio
import datetime as dt
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor, merge_counts
from todobatch.processors.processor import TaskProcessor
from todobatch.processors.reporter import TaskReporter
from todobatch.processors.validator import TaskValidator

IO_WAIT_S = 0.005
HYBRID_WAIT_S = 0.001
HYBRID_SQUARES = 4_000


class Pipeline(TaskBatchProcessor):
    """Validate, process and report in a row. A row is ``[problems, new state, urgency]``.

    A task with problems is not processed: its new state is null, and it is in the report all the
    same, as it would be if the three ran one after the other.
    """

    name = "pipeline"

    def __init__(
        self, processor_id: str | int | None = None, *, today: dt.date | None = None
    ) -> None:
        super().__init__(processor_id, today=today)
        self._validator = TaskValidator(today=self.today)
        self._processor = TaskProcessor(today=self.today)
        self._reporter = TaskReporter(today=self.today)

    def process_task(self, task: Task) -> Json:
        """The three processors' rows for one task."""
        problems = self._validator.process_task(task)
        state = None if problems else self._processor.process_task(task)
        return [problems, state, self._reporter.process_task(task)]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Each processor's own aggregate under its name."""
        columns = [[row[i] for row in rows if isinstance(row, list)] for i in range(3)]
        sound = [
            (task, state)
            for task, state in zip(tasks, columns[1], strict=True)
            if state is not None
        ]
        return {
            "validate": dict(self._validator.summarise(tasks, columns[0])),
            "process": dict(
                self._processor.summarise([task for task, _ in sound], [row for _, row in sound])
            ),
            "report": dict(self._reporter.summarise(tasks, columns[2])),
        }

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Merge each processor's aggregate by its own rule."""
        if not a or not b:
            return dict(a or b)
        return {
            "validate": self._validator.merge(a["validate"], b["validate"]),
            "process": self._processor.merge(a["process"], b["process"]),
            "report": self._reporter.merge(a["report"], b["report"]),
        }

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Finish each processor's aggregate."""
        return {
            "validate": self._validator.finish(partial.get("validate", {})),
            "process": self._processor.finish(partial.get("process", {})),
            "report": self._reporter.finish(partial.get("report", {})),
        }


class Example8(TaskBatchProcessor):
    """The source document's reference load: 5,000 squares a task, 1,000 integers more when done."""

    name = "example8"

    def process_task(self, task: Task) -> Json:
        """Sum the squares, and the integers when the task is done."""
        total = sum(i * i for i in range(5_000))
        if task.done:
            total += sum(range(1_000))
        return total


class IoWait(TaskBatchProcessor):
    """Waits 5 ms a task, as for a remote answer: sleeping, or awaiting in an event loop."""

    name = "io-wait"

    def process_task(self, task: Task) -> Json:
        """Wait, and give the length of the answer."""
        time.sleep(IO_WAIT_S)
        return len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """The same, leaving the event loop to others meanwhile."""
        await asyncio.sleep(IO_WAIT_S)
        return len(task.title)


class Hybrid(TaskBatchProcessor):
    """Computes (4,000 squares) and then waits 1 ms, a task."""

    name = "hybrid"

    def process_task(self, task: Task) -> Json:
        """Compute, then wait."""
        total = _squares(HYBRID_SQUARES)
        time.sleep(HYBRID_WAIT_S)
        return total + len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """The same, awaiting."""
        total = _squares(HYBRID_SQUARES)
        await asyncio.sleep(HYBRID_WAIT_S)
        return total + len(task.title)


def _squares(count: int) -> int:
    return sum(i * i for i in range(count))


class FunctionProcessor(TaskBatchProcessor):
    """A user's function of one task. What it returns must be JSON; an ``async def`` is awaited."""

    name = "function"

    def __init__(
        self,
        function: Callable[[Task], Any],
        processor_id: str | int | None = None,
        *,
        today: dt.date | None = None,
    ) -> None:
        super().__init__(processor_id or f"{function.__module__}:{function.__qualname__}",
                         today=today)  # fmt: skip
        self._function = function
        self._awaits = inspect.iscoroutinefunction(function)

    def process_task(self, task: Task) -> Json:
        """Call the function; an ``async def`` gets an event loop of its own."""
        result: Json = asyncio.run(self._function(task)) if self._awaits else self._function(task)
        return result

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """As the base class does, with one event loop for the whole batch where one is needed."""
        if self._awaits:
            return asyncio.run(self.process_batch_async(tasks))
        return super().process_batch(tasks)

    async def process_task_async(self, task: Task) -> Json:
        """Call the function and await what it gives when it is an ``async def``."""
        result = self._function(task)
        return await result if self._awaits else result  # type: ignore[no-any-return]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Rows counted; rows that are true or false are counted apart."""
        del tasks
        booleans = [row for row in rows if isinstance(row, bool)]
        counts: dict[str, Json] = {"rows": len(rows)}
        return merge_counts(counts, {"true": sum(booleans)}) if booleans else counts
