"""The records that flow through todobatch: one `Task` type everywhere, all of them immutable.

They are frozen and slotted, and pickle by their fields: a `Task` crosses to another process or
interpreter as one small tuple.
"""

import datetime as dt
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from todobatch.units import Seconds

HIGHEST_PRIORITY = 1
DEFAULT_PRIORITY = 5
LOWEST_PRIORITY = 10

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What a processor may give back: it must survive `json.dumps` and mean the same afterwards."""

Fault: TypeAlias = Literal["crashed", "deadline"]
"""Why a whole batch did not come back: its worker died, or it ran beyond its deadline."""


class _ByFields:
    """Pickle a slotted record as its class and the tuple of its fields."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(
            getattr(self, name)
            for name in self.__match_args__  # type: ignore[attr-defined]
        )


@dataclass(frozen=True, slots=True)
class Task(_ByFields):
    """One todo.

    `priority` runs from 1 (highest) to 10 (lowest). A `Task` may hold values that make no sense:
    judging them is `TaskValidator`'s work, and readers of files refuse them before that.
    """

    title: str
    priority: int = DEFAULT_PRIORITY
    done: bool = False
    due: dt.date | None = None
    created: dt.date | None = None
    completed: dt.date | None = None
    projects: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    recurrence: str | None = None
    """How it comes again: '3d', '1w', '2m', '1y'; a leading '+' counts from the due date."""
    status: str = "pending"
    """'pending', 'waiting', 'overdue' or 'completed'; readers set it, `TaskProcessor` moves it."""


@dataclass(frozen=True, slots=True)
class Batch(_ByFields):
    """The tasks given to one call of a processor.

    `index` counts batches from 0 and `first` is the position of the first task in the whole input,
    so that a task can be named wherever its batch ended up.
    """

    index: int
    tasks: tuple[Task, ...]
    first: int = 0

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True, slots=True)
class Part(Batch):
    """Some tasks of a batch, run apart from the others; `index` is that of the whole batch.

    The results of parts always keep their rows: the coordinator puts the batch together from them.
    """

    number: int = 0
    """Distinguishes the parts of a run, whatever their batch."""


@dataclass(frozen=True, slots=True)
class TaskFailure(_ByFields):
    """One task that could not be processed: which, and why."""

    task: int
    """Position in the whole input, from 0."""
    title: str
    error: str
    """Type and message: ``'ValueError: no such project'``."""


@dataclass(frozen=True, slots=True)
class WorkerSeen(_ByFields):
    """What a worker reported of itself while it ran one batch."""

    worker: str = "main"
    """Unique within a run: ``'thread-1'``, ``'process-4711'``, ``'interpreter-2'``."""
    pid: int | None = None
    """None when no worker reported, for example because it died."""
    gil_before: bool = True
    gil_after: bool = True
    cpu: int | None = None
    """CPU it ran on at the end of the batch, where the system tells."""
    start_method: str = "main"
    """'main', 'thread', 'coroutine', 'interpreter', 'forkserver', 'spawn' or 'fork'."""
    allowed: tuple[int, ...] = ()
    """CPUs that it may use, at the end of the batch; empty where the system does not tell."""
    queue_s: Seconds = 0.0
    """From being handed out to being taken by the worker. This and the next three are 0 where
    nothing waits or nothing is copied, and where it is not measured."""
    deserialise_s: Seconds = 0.0
    """Unpickling the batch, in the worker."""
    serialise_s: Seconds = 0.0
    """Pickling the result, in the worker."""
    return_s: Seconds = 0.0
    """From the worker's sending the result to the caller's taking it."""


@dataclass(frozen=True, slots=True)
class ProcessingResult(_ByFields):
    """What one processor made of one batch. Immutable once made.

    `success` is true when every task of the batch was processed; otherwise `error` names processor,
    batch and cause, `failures` the tasks that failed by themselves, and `tasks_processed` counts
    those that were done all the same. `duration` is wall time in seconds; `started` is
    `time.perf_counter()` when the batch began, comparable between workers of one machine.
    """

    processor_id: str
    tasks_processed: int
    duration: Seconds
    success: bool
    error: str | None = None
    batch: int = 0
    tasks: int = 0
    started: Seconds = 0.0
    rows: tuple[Json, ...] | None = None
    """One JSON value a task in order, None for a failed task. None unless rows are kept, which
    those of a `Part` always are."""
    partial: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The batch's share of an aggregate, merged by the processor's `merge`."""
    digest: int | None = 0
    """256-bit digest of position and output; the sum over batches is the run's digest. None where
    it is unknown: see `BatchReport.digest`."""
    failures: tuple[TaskFailure, ...] = ()
    seen: WorkerSeen = field(default_factory=WorkerSeen)
    fault: Fault | None = None
    """Why the whole batch did not come back from its worker; None when `process_batch` returned."""
    part: int | None = None
    """The `number` of the part that was run; None for a whole batch."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not pickle: it travels as the dict it guards.
        values = [getattr(self, f.name) for f in fields(self)]
        values[_PARTIAL] = dict(self.partial)
        return type(self), tuple(values)


_PARTIAL = [f.name for f in fields(ProcessingResult)].index("partial")


@dataclass(frozen=True, slots=True)
class WorkerTotals(_ByFields):
    """What one worker did in a whole run."""

    worker: str
    pid: int
    batches: int
    tasks: int
    busy_s: Seconds
    """Sum of its batches' durations. With a GIL this includes waiting for other threads."""
    gil_before: bool
    gil_after: bool
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchReport(_ByFields):
    """What a whole run came to.

    `tasks` were taken in, of which `failed` were not processed. `wall_s` runs from the first batch
    handed out to the last result taken in, with the workers already up; `pool_start_s` is what
    bringing them up took. `digest` is the same for every approach that gave the same output, and
    empty where it cannot be known: a `process_batch` of the user's own gave no rows, and one of its
    batches had to be run in parts.
    """

    executor: str
    workers: int
    tasks: int
    failed: int
    batches: int
    failed_batches: int
    wall_s: Seconds
    pool_start_s: Seconds
    digest: str
    result: Mapping[str, Any]
    """The merged aggregate of all batches, as the processor's `finish` gives it."""
    failures: tuple[TaskFailure, ...]
    """The first failures, at most `MAX_FAILURES_KEPT`; `failed` counts all."""
    errors: tuple[str, ...]
    """The first failed batches' errors, at most as many."""
    worker_totals: tuple[WorkerTotals, ...]
    interrupted: bool = False
    retried: int = 0
    """Runs of batches, or of parts of them, beyond the first: after a fault or a failure."""
    set_aside: int = 0
    """Tasks that broke each batch they were in, found singly; they count as `failed` too."""
    set_aside_tasks: tuple[TaskFailure, ...] = ()
    """The first of them, at most `MAX_FAILURES_KEPT`."""
    replaced: int = 0
    """Workers that died or overran the deadline, and were replaced."""
    resumed_tasks: int = 0
    """Of `tasks`, those that a journal says were done by an earlier run, before `wall_s`."""
    worker_stats: tuple[Any, ...] = ()
    """What each worker did in this run, as `todobatch.executors.WorkerStats`: time with and without
    batches, steals, parkings; several rounds are added up."""
    resizes: tuple[Any, ...] = ()
    """The sizes of a pool that sizes itself, as `todobatch.executors.Resize`: its beginning and the
    latest ones, at most 1,000."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(
            dict(value) if isinstance(value, MappingProxyType) else value
            for value in (getattr(self, f.name) for f in fields(self))
        )


MAX_FAILURES_KEPT = 100


def describe_exception(error: BaseException) -> str:
    """Type and message on one line."""
    return " ".join("".join(traceback.format_exception_only(error)).split())
