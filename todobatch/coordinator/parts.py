"""Batches that are run in parts: how large a part is, and how parts become one result."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

from todobatch.model import (
    Batch,
    Json,
    ProcessingResult,
    Task,
    TaskFailure,
    WorkerSeen,
    describe_exception,
)
from todobatch.processors.base import TASK_ERRORS, TaskBatchProcessor, digest_of, failed_result
from todobatch.units import Ratio, Seconds

PART_S: Seconds = 0.03
"""The work in a part of a slow batch. Handing a part over costs 0.1 ms at most."""
PART_BYTES = 1_000_000
"""The most text in a part that is copied, on the way there or back."""
COPYING_AT_MOST: Ratio = 0.05
"""Batches are not split when packing the rows of a part takes a larger share of its time."""


class PartSizes:
    """Chooses how many tasks go out together, from what the latest results took.

    `size` is called by the thread that iterates the feed, `learn` by the one that takes results.
    """

    def __init__(self, workers: int, *, copies: bool, keep_rows: bool) -> None:
        self._workers = workers
        self._copies = copies
        self._keep_rows = keep_rows
        self._task_s: Seconds | None = None
        """How long one task takes, by the latest results."""
        self._row_bytes = 0
        """The text in a task's row, by the latest result. 0 where rows are not kept."""
        self._unmeasured = 0
        """How many parts were made before any result came in."""
        self.worthwhile = True
        """False when returning the rows of parts costs more than splitting gains."""

    def size(self, batch: Batch, left: int) -> int:
        """How many of the `left` tasks of a batch make the next part."""
        if self._task_s is None:  # one for each worker and one to come, then twice as many, ...
            return min(left, 1 << max(self._unmeasured // self._workers - 1, 0))
        size = left if self._task_s * left < 1.5 * PART_S else int(PART_S / self._task_s)
        if self._copies and left:
            ends = (batch.tasks[0], batch.tasks[-1])  # items of the user's own may lack a title
            text = max(_text(getattr(task, "title", None)) for task in ends)
            size = min(size, PART_BYTES // max(text, self._row_bytes, 1))
        return min(max(size, 1), left)

    def count(self) -> None:
        """Note that a part was made."""
        self._unmeasured += self._task_s is None

    def learn(self, result: ProcessingResult) -> None:
        """Measure the tasks of a batch or part that came back."""
        if result.fault is not None or not result.tasks or result.duration <= 0:
            return
        mean = result.duration / result.tasks
        old = self._task_s
        # A slow task counts at once and a quick one step by step: long parts are the worse mistake.
        self._task_s = mean if old is None else max(mean, 0.6 * old + 0.4 * mean)
        if self._keep_rows:
            self._row_bytes = max(map(_text, (result.rows or ())[:1]), default=0)
        elif (
            result.part is not None and result.seen.serialise_s > COPYING_AT_MOST * result.duration
        ):
            self.worthwhile = result.duration < PART_S / 10  # too short to show anything


@dataclass(slots=True)
class Pieces:
    """What is known of a batch that is run in parts."""

    batch: Batch
    left: int = field(init=False)
    """Tasks whose part has not come back yet."""
    rows: list[Json] = field(init=False)
    halved: bool = False
    """Whether the batch or a part of it broke after its last retry and was split in half."""
    failures: list[TaskFailure] = field(default_factory=list)
    set_aside: list[TaskFailure] = field(default_factory=list)
    results: list[ProcessingResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = len(self.batch)
        self.rows = [None] * self.left

    def add(self, part: Batch, result: ProcessingResult) -> None:
        """Add the result of a part that came back."""
        self.results.append(result)
        self.failures.extend(result.failures)
        self.left -= len(part)
        start = part.first - self.batch.first
        for place, row in enumerate(result.rows or (), start):
            self.rows[place] = row

    def put_aside(self, part: Batch, result: ProcessingResult) -> None:
        """Set the tasks of a part aside: it broke each time it was run."""
        # The part's name in the error means nothing to a reader: the failure names the task.
        error = result.error or "it failed without an error message"
        name = f" (tasks {part.first} to {part.first + len(part) - 1}): "
        cause = error.partition(name)[2] or error
        for place, task in enumerate(part.tasks, start=part.first):
            title = task.title if isinstance(task, Task) else repr(task)
            self.set_aside.append(TaskFailure(place, title, cause))
        self.left -= len(part)

    def whole(self, processor: TaskBatchProcessor) -> ProcessingResult:
        """The batch's result, as if the tasks that were set aside had failed by themselves."""
        failures = sorted(self.failures + self.set_aside, key=lambda failure: failure.task)
        started = min((part.started for part in self.results), default=perf_counter())
        result: ProcessingResult | None = None
        have_rows = all(part.rows is not None for part in self.results)
        # When the batch broke and no task did, `summarise` of the whole broke the worker. It would
        # break this process too.
        if have_rows and (self.set_aside or not self.halved):
            result = processor.result_of(self.batch, self.rows, failures, started)
        if result is None or is_broken(result):
            result = self._merged(processor, failures, started, have_rows=have_rows)
        duration = sum(part.duration for part in self.results)
        return replace(result, duration=duration, seen=WorkerSeen())

    def _merged(
        self,
        processor: TaskBatchProcessor,
        failures: Sequence[TaskFailure],
        started: float,
        *,
        have_rows: bool,
    ) -> ProcessingResult:
        """The result made from the aggregates of the parts, where the rows do not give one."""
        batch, parts = self.batch, self.results
        partial: dict[str, Any] = {}
        failed = {failure.task for failure in failures}
        rows = [row for task, row in enumerate(self.rows, batch.first) if task not in failed]
        try:
            for number, part in enumerate(parts):
                mine = dict(part.partial)
                partial = processor.merge(partial, mine) if number else mine
            digest = digest_of(batch.index, rows, partial) if have_rows else None
        except TASK_ERRORS as error:
            cause = describe_exception(error)
            return failed_result(processor.processor_id, batch, cause, started=started)
        named = "; ".join(f"task {f.task} {f.title!r}: {f.error}" for f in failures[:3])
        message = (
            f"processor {processor.processor_id}, batch {batch.index}: "
            f"{len(failures)} of {len(batch)} tasks failed: {named}"
        )
        return ProcessingResult(
            processor_id=processor.processor_id,
            tasks_processed=sum(part.tasks_processed for part in parts),
            duration=0.0,
            success=not failures,
            error=message if failures else None,
            batch=batch.index,
            tasks=len(batch),
            started=started,
            rows=tuple(self.rows),
            partial=MappingProxyType(partial),
            digest=digest,
            failures=tuple(failures),
        )


def is_broken(result: ProcessingResult) -> bool:
    """Whether a batch did not come back, or failed as a whole with no task to name."""
    if result.fault is not None:
        return True
    return not (result.success or result.tasks_processed or result.failures)


def _text(value: object) -> int:
    return len(value) if isinstance(value, str) else 0
