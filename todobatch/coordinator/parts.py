"""Runs batches in parts: it chooses the size of a part, and makes one result of all parts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import MappingProxyType
from typing import Any

from todobatch.model import (
    Batch,
    Json,
    ProcessingResult,
    TaskFailure,
    WorkerSeen,
    describe_exception,
)
from todobatch.processors.base import (
    TASK_ERRORS,
    TaskBatchProcessor,
    digest_of,
    failed_result,
    name_failures,
    task_failure,
)
from todobatch.units import Ratio, Seconds

PART_S: Seconds = 0.03
"""A part has about this many seconds of work. Sending one costs 0.1 ms at most."""
PART_BYTES = 1_000_000
"""A part that is copied has at most this many characters of text, in its tasks or in its rows."""
COPYING_AT_MOST: Ratio = 0.05
"""Batches are not split if pickling a part's rows takes more than this share of the part's time."""


class PartSizes:
    """Chooses how many tasks are sent together, from the durations of the latest results.

    The thread that iterates the feed calls `size`; the one that receives results calls `learn`.
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
        """Return how many of the `left` tasks of a batch make the next part."""
        if self._task_s is None:  # two parts of 1 task for each worker, then 2 tasks, 4, …
            return min(left, 1 << max(self._unmeasured // self._workers - 1, 0))
        size = left if self._task_s * left < 1.5 * PART_S else int(PART_S / self._task_s)
        if self._copies and left:
            ends = (batch.tasks[0], batch.tasks[-1])  # items of the user's own may lack a title
            text = max(_text(getattr(task, "title", None)) for task in ends)
            size = min(size, PART_BYTES // max(text, self._row_bytes, 1))
        return min(max(size, 1), left)

    def count(self) -> None:
        """Count a part that was made before the first result came in."""
        self._unmeasured += self._task_s is None

    def learn(self, result: ProcessingResult) -> None:
        """Update the estimates from a batch or part that came back."""
        if result.fault is not None or not result.tasks or result.duration <= 0:
            return
        mean = result.duration / result.tasks
        old = self._task_s
        # The estimate rises at once and falls gradually, because parts that are too long cost more.
        self._task_s = mean if old is None else max(mean, 0.6 * old + 0.4 * mean)
        if self._keep_rows:
            self._row_bytes = max(map(_text, (result.rows or ())[:1]), default=0)
        elif (
            result.part is not None and result.seen.serialise_s > COPYING_AT_MOST * result.duration
        ):
            self.worthwhile = result.duration < PART_S / 10  # too short to show anything


@dataclass(slots=True)
class Pieces:
    """The results of a batch that is run in parts, as far as they have come back."""

    batch: Batch
    left: int = field(init=False)
    """The number of tasks whose part has not come back yet."""
    rows: list[Json] = field(init=False)
    halved: bool = False
    """Whether the batch or a part of it was split in half because it broke after its last retry."""
    failures: list[TaskFailure] = field(default_factory=list)
    set_aside: list[TaskFailure] = field(default_factory=list)
    results: list[ProcessingResult] = field(default_factory=list)
    kept: int = 0
    """How many tasks have their row from an earlier run."""

    def __post_init__(self) -> None:
        self.left = len(self.batch)
        self.rows = [None] * self.left

    def keep(self, rows: Sequence[Json], failed: Sequence[int]) -> None:
        """Take all rows from an earlier run but those of the tasks at the places `failed`."""
        self.rows, self.left = list(rows), len(failed)
        self.kept = len(self.batch) - len(failed)

    def add(self, part: Batch, result: ProcessingResult) -> None:
        """Add the result of a part that came back."""
        self.results.append(result)
        self.failures.extend(result.failures)
        self.left -= len(part)
        start = part.first - self.batch.first
        for place, row in enumerate(result.rows or (), start):
            self.rows[place] = row

    def add_set_aside(self, part: Batch, result: ProcessingResult) -> None:
        """Set the tasks of a part aside, because it broke each time it was run."""
        # Remove the part's name from the error, because the failure names the task.
        error = result.error or "it failed without an error message"
        name = f" (tasks {part.first} to {part.first + len(part) - 1}): "
        cause = error.partition(name)[2] or error
        self.set_aside.extend(task_failure(part, offset, cause) for offset in range(len(part)))
        self.left -= len(part)

    def whole(self, processor: TaskBatchProcessor) -> ProcessingResult:
        """Return the batch's result, in which the tasks that were set aside have failed."""
        failures = sorted(self.failures + self.set_aside, key=lambda failure: failure.task)
        started = min((part.started for part in self.results), default=perf_counter())
        result: ProcessingResult | None = None
        have_rows = all(part.rows is not None for part in self.results)
        # If the batch broke but none of its tasks did, `summarise` breaks workers.
        if have_rows and (self.set_aside or self.kept or not self.halved):
            result = processor.result_of(self.batch, self.rows, failures, started)
        if result is None or (is_broken(result) and not self.kept):  # parts lack what was kept
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
        """Make the result from the parts' aggregates, because rows are missing or unusable."""
        batch, parts = self.batch, self.results
        partial: dict[str, Any] = {}
        failed = {failure.task for failure in failures}
        rows = [row for task, row in enumerate(self.rows, batch.first) if task not in failed]
        try:
            for number, part in enumerate(parts):
                aggregate = dict(part.partial)
                partial = processor.merge(partial, aggregate) if number else aggregate
            digest = digest_of(batch.index, rows, partial) if have_rows else None
        except TASK_ERRORS as error:
            cause = describe_exception(error)
            return failed_result(processor.processor_id, batch, cause, started=started)
        return ProcessingResult(
            processor_id=processor.processor_id,
            tasks_processed=sum(part.tasks_processed for part in parts),
            duration=0.0,
            success=not failures,
            error=name_failures(processor.processor_id, batch, failures) if failures else None,
            batch=batch.index,
            tasks=len(batch),
            started=started,
            rows=tuple(self.rows),
            partial=MappingProxyType(partial),
            digest=digest,
            failures=tuple(failures),
        )


def is_broken(result: ProcessingResult) -> bool:
    """Return whether a batch did not come back, or failed without naming a task."""
    if result.fault is not None:
        return True
    return not (result.success or result.tasks_processed or result.failures)


def _text(value: object) -> int:
    return len(value) if isinstance(value, str) else 0
