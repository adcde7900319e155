"""`TaskBatchProcessor`: it processes a batch of tasks and always returns a result.

A processor holds no state between batches, so any number of threads can share one. It pickles, so a
copy can be sent to a process or another interpreter.
"""

import datetime as dt
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from time import perf_counter
from types import MappingProxyType
from typing import Any, ClassVar

from todobatch import runtime
from todobatch.model import (
    Batch,
    Fault,
    Frame,
    Json,
    Part,
    ProcessingResult,
    Task,
    TaskFailure,
    describe_exception,
    frame_of,
)

DIGEST_MODULUS = 1 << 256
"""Digests of batches are added modulo this number."""
FAILURES_IN_MESSAGE = 3
"""The error of a batch names at most this many failed tasks."""
LONG_TEXT = 1_000
"""A digest contains the hash of a text that has at least this many characters."""

# What a method that makes a result of rows may raise without ending its worker.
TASK_ERRORS = (Exception, SystemExit)


class TaskBatchProcessor(ABC):
    """The base class of all processors: subclass it and define `process_task`.

    `processor_id` names this processor in results; it defaults to the class's `name`.
    `today` is the date that due dates are compared with; it defaults to the current date. It is
    fixed for a whole run, so every approach gives the same output.
    """

    name: ClassVar[str] = "custom"
    splittable: ClassVar[bool] = True
    """Whether a batch of slow tasks may be run in parts. `process_batch` must then return a row for
    each task. A subclass that overrides it has False by default."""
    summary_is_safe: ClassVar[bool] = True
    """Whether the coordinator may call `summarise`, because it cannot crash its process. It is
    False in a subclass that overrides `summarise` without setting this or `splittable`. Executors
    that isolate crashes split batches only where it is True."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        body = vars(cls)
        if "splittable" not in body and body.keys() & {"process_batch", "process_batch_async"}:
            cls.splittable = False
        if "summary_is_safe" not in body:
            if body.get("splittable"):
                cls.summary_is_safe = True
            elif body.keys() & {"summarise", "result_of"}:
                cls.summary_is_safe = False

    def __init__(
        self, processor_id: str | int | None = None, *, today: dt.date | None = None
    ) -> None:
        self.processor_id = self.name if processor_id is None else str(processor_id)
        self.today = today or runtime.today()

    @property
    def awaits(self) -> bool:
        """Whether the processor has an asynchronous method of its own, which may await."""
        mine, base = type(self), TaskBatchProcessor
        return (
            mine.process_task_async is not base.process_task_async
            or mine.process_batch_async is not base.process_batch_async
        )

    @abstractmethod
    def process_task(self, task: Task) -> Json:
        """Process one task and return a JSON value. If it raises, only this task fails."""

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Return the aggregate of a batch's successful tasks and rows: JSON values by name."""
        del tasks
        return {"rows": len(rows)}

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Merge two partial aggregates; the order of merging must not change the result.

        The default adds whole numbers and merges dictionaries key by key.
        """
        return merge_counts(a, b)

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the merged aggregate into the final report. The default is a sorted copy."""
        return {key: partial[key] for key in sorted(partial)}

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """Process every task of a batch, one after the other.

        A task that raises becomes a `TaskFailure` in the result, and the others are processed. If
        anything else raises, the whole batch has failed. The method itself does not raise.
        """
        return self._process_each(as_batch(tasks))

    def _process_each(self, batch: Batch, progress: memoryview | None = None) -> ProcessingResult:
        """Do what `process_batch` says; `progress[0]` is the offset of the task that is running.

        Between tasks it may be that of the last one. After the last task it is -1.
        """
        started = perf_counter()
        rows: list[Json] = []
        failures: list[TaskFailure] = []
        process = self.process_task
        forks = runtime.forks
        for offset, task in enumerate(batch.tasks):
            if progress is not None:
                progress[0] = offset
            try:
                rows.append(process(task))
            except KeyboardInterrupt:  # a Ctrl-C ends the run, not the task
                raise
            except BaseException as error:
                if runtime.forks != forks:
                    runtime.end_forked_child(error)
                rows.append(None)
                failures.append(_failure(batch, offset, error))
            if runtime.forks != forks:
                runtime.end_forked_child()
        if progress is not None:
            progress[0] = -1
        return self.result_of(batch, rows, failures, started)

    async def process_task_async(self, task: Task) -> Json:
        """Process one task in an event loop; the default blocks the loop with `process_task`."""
        return self.process_task(task)

    async def process_batch_async(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """Process a batch in an event loop; other batches run while a task awaits."""
        from asyncio import CancelledError  # a loop runs, so the module is loaded

        batch = as_batch(tasks)
        started = perf_counter()
        rows: list[Json] = []
        failures: list[TaskFailure] = []
        process: Callable[[Task], Coroutine[Any, Any, Json]] = self.process_task_async
        forks = runtime.forks
        for offset, task in enumerate(batch.tasks):
            try:
                rows.append(await process(task))
            except (KeyboardInterrupt, GeneratorExit, CancelledError):  # the executor decides
                raise
            except BaseException as error:
                if runtime.forks != forks:
                    runtime.end_forked_child(error)
                rows.append(None)
                failures.append(_failure(batch, offset, error))
            if runtime.forks != forks:
                runtime.end_forked_child()
        return self.result_of(batch, rows, failures, started)

    def result_of(
        self, batch: Batch, rows: list[Json], failures: list[TaskFailure], started: float
    ) -> ProcessingResult:
        """Make a batch's result from one row for each task, None for those in `failures`.

        `process_batch` calls this at its end. The coordinator calls it for a batch that was run in
        parts. `started` is `time.perf_counter()` when the batch began.
        """
        failed = {failure.task - batch.first for failure in failures}
        tasks: Sequence[Task] = batch.tasks
        done: Sequence[Json] = rows
        if failed:
            tasks = [task for offset, task in enumerate(tasks) if offset not in failed]
            done = [row for offset, row in enumerate(rows) if offset not in failed]
        try:
            partial = dict(self.summarise(tasks, done))
            digest = digest_of(batch.index, done, partial)
        except TASK_ERRORS as error:
            culprit = _first_not_json(batch, rows)
            return failed_result(self.processor_id, batch, culprit or describe_exception(error),
                                 started=started, frame=frame_of(error))  # fmt: skip
        return ProcessingResult(
            processor_id=self.processor_id,
            tasks_processed=len(done),
            duration=perf_counter() - started,
            success=not failures,
            error=name_failures(self.processor_id, batch, failures) if failures else None,
            batch=batch.index,
            tasks=len(batch.tasks),
            started=started,
            rows=tuple(rows),
            partial=MappingProxyType(partial),
            digest=digest,
            failures=tuple(failures),
        )


def as_batch(tasks: Batch | Sequence[Task]) -> Batch:
    """Return a batch unchanged, and a sequence of tasks as batch 0."""
    return tasks if isinstance(tasks, Batch) else Batch(0, tuple(tasks))


def failed_result(
    processor_id: str,
    batch: Batch,
    cause: str,
    *,
    started: float | None = None,
    fault: Fault | None = None,
    frame: Frame | None = None,
) -> ProcessingResult:
    """Make the result of a batch that failed as a whole; `cause` says why, and `frame` where.

    `started` is `time.perf_counter()` when the batch began, where that is known.
    """
    now = perf_counter()
    return ProcessingResult(
        processor_id=processor_id,
        tasks_processed=0,
        duration=0.0 if started is None else now - started,
        success=False,
        error=f"processor {processor_id}, {_name(batch)}: {cause}",
        batch=batch.index,
        tasks=len(batch.tasks),
        started=now if started is None else started,
        fault=fault,
        part=batch.number if isinstance(batch, Part) else None,
        frame=frame,
    )


def task_failure(batch: Batch, offset: int, cause: str, frame: Frame | None = None) -> TaskFailure:
    """Return the failure of the task at `offset` in a batch: `cause` says why, `frame` where."""
    task = batch.tasks[offset]
    title = task.title if isinstance(task, Task) else repr(task)  # callers may pass anything
    return TaskFailure(batch.first + offset, title, cause, frame)


def digest_of(index: int, rows: Sequence[Json], partial: Mapping[str, Any]) -> int:
    """Return the SHA-256 of a batch's position and output in canonical JSON, as a number.

    A run's digest is the sum of its batches' digests modulo 2**256, so their order makes no
    difference. Source: Bellare and Micciancio, "A new paradigm for collision-free hashing", 1997.
    Raises TypeError or ValueError when a row is not JSON, and RecursionError when it is nested too
    deeply.

    Long texts are replaced by their own hashes, because writing them as JSON takes five times as
    long as hashing them. Rows are only replaced if all are texts and the first is long.
    """
    if rows and _is_long(rows[0]) and {*map(type, rows)} == {str}:
        rows = [_hash(str(row)) for row in rows]
    if any(map(_is_long, partial.values())):
        partial = {
            key: _hash(value) if _is_long(value) else value for key, value in partial.items()
        }
    return int.from_bytes(hashlib.sha256(_canonical([index, rows, partial]).encode()).digest())


def _is_long(value: Any) -> bool:
    return type(value) is str and len(value) >= LONG_TEXT


def _hash(text: str) -> dict[str, Json]:
    return {"sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def merge_counts(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Add whole numbers and merge nested dictionaries key by key."""
    merged = dict(a)
    for key, value in b.items():
        if key not in merged:
            merged[key] = value
        elif isinstance(value, Mapping):
            merged[key] = merge_counts(merged[key], value)
        else:
            merged[key] += value
    return merged


def _name(batch: Batch) -> str:
    last = batch.first + len(batch.tasks) - 1
    return f"batch {batch.index} (tasks {batch.first} to {last})"


def _failure(batch: Batch, offset: int, error: BaseException) -> TaskFailure:
    return task_failure(batch, offset, describe_exception(error), frame_of(error))


def name_failures(processor_id: str, batch: Batch, failures: Sequence[TaskFailure]) -> str:
    """Return the error of a batch in which these tasks failed; it names the first of them."""
    named = "; ".join(
        f"task {f.task} {f.title!r}: {f.error}" for f in failures[:FAILURES_IN_MESSAGE]
    )
    more = len(failures) - FAILURES_IN_MESSAGE
    rest = f"; and {more} more" if more > 0 else ""
    count = f"{len(failures)} of {len(batch.tasks)} tasks failed"
    return f"processor {processor_id}, {_name(batch)}: {count}: {named}{rest}"


def _first_not_json(batch: Batch, rows: Sequence[Json]) -> str | None:
    for task, row in zip(batch.tasks, rows, strict=True):
        try:
            json.dumps(row, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            return f"the row of task {task.title!r} is not JSON: {describe_exception(error)}"
    return None
