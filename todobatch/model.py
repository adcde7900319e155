"""The records that todobatch passes around: `Task`, `Batch`, `ProcessingResult`, `BatchReport`.

All are immutable and have slots. They pickle as the tuple of their fields, which keeps them small
on their way to another process or interpreter.
"""

import datetime as dt
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType, TracebackType
from typing import Any, Literal, TypeAlias

from todobatch.units import Seconds

HIGHEST_PRIORITY = 1
"""The number of the most urgent priority."""
DEFAULT_PRIORITY = 5
"""The priority of a task that has none."""
LOWEST_PRIORITY = 10
"""The number of the least urgent priority."""
STATUSES = ("pending", "waiting", "overdue", "completed")
"""The valid values of `Task.status`."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A JSON value, which is what a processor returns for each task."""

Fault: TypeAlias = Literal["crashed", "deadline"]
"""Why a worker returned no result: ``"crashed"`` or, beyond the deadline, ``"deadline"``."""


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
    """One todo item of the input.

    `priority` is from 1 (highest) to 10 (lowest). A `Task` does not check its values. Readers of
    files refuse invalid ones, and `TaskValidator` reports them.
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
    """The interval until the task is due again: '3d', '5b' (business days), '1w', '2m' or '1y'. It
    starts at the completion date or, with a leading '+', at the due date."""
    status: str = "pending"
    """'pending', 'waiting', 'overdue' or 'completed'."""


@dataclass(frozen=True, slots=True)
class Batch(_ByFields):
    """The tasks given to one call of a processor.

    `index` is the batch's number, from 0. `first` is its first task's position in the input.
    """

    index: int
    tasks: tuple[Task, ...]
    first: int = 0

    def __len__(self) -> int:
        return len(self.tasks)


@dataclass(frozen=True, slots=True)
class Part(Batch):
    """Some tasks of a batch, which are run separately; `index` is that of the whole batch.

    The results of parts always keep their rows: the coordinator puts the batch together from them.
    """

    number: int = 0
    """The number of the part, unique within a run."""


@dataclass(frozen=True, slots=True)
class Frame(_ByFields):
    """The line of a user's code in which an exception was raised, or which called what raised it.

    Texts have `LONGEST_ERROR` characters at most.
    """

    file: str
    line: int
    """Counted from 1; 0 if it is unknown."""
    function: str
    """The function's qualified name: ``'Score.process_task'``."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}, in {self.function}"


@dataclass(frozen=True, slots=True)
class TaskFailure(_ByFields):
    """A task that failed, and its error."""

    task: int
    """The task's position in the whole input, from 0."""
    title: str
    error: str
    """The type and message of the exception: ``'ValueError: no such project'``."""
    frame: Frame | None = None
    """Where in the user's code the exception was raised; None if no exception or frame is known."""


@dataclass(frozen=True, slots=True)
class FailureCause(_ByFields):
    """All failed tasks of a run that have the same cause.

    They failed with the same type of exception at the same line. Without a known line they have the
    same error, in which numbers may differ.
    """

    count: int
    """The number of these tasks."""
    tasks: tuple[int, ...]
    """The positions of the first of them that came back, at most `MAX_TASKS_NAMED`."""
    error: str
    """The error of the first."""
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class WorkerSeen(_ByFields):
    """What a worker recorded about itself while it ran one batch."""

    worker: str = "main"
    """The worker's name, unique within a run, such as ``'thread-1'`` or ``'process-4711'``."""
    pid: int | None = None
    """The worker's process id; None when no worker reported, for example because it died."""
    gil_before: bool = True
    gil_after: bool = True
    cpu: int | None = None
    """The CPU that the worker ran on at the end of the batch; None if the system does not say."""
    start_method: str = "main"
    """'main', 'thread', 'coroutine' or 'interpreter'; for a process 'forkserver', 'spawn' or
    'fork'."""
    allowed: tuple[int, ...] = ()
    """The CPUs that the worker may use after the batch; empty if the system does not say."""
    queue_s: Seconds = 0.0
    """Time from sending the batch to the worker until the worker begins it. This and the next three
    fields are 0 where batches are not copied or times not measured."""
    deserialise_s: Seconds = 0.0
    """Time that the worker spent unpickling the batch."""
    serialise_s: Seconds = 0.0
    """Time that the worker spent pickling the result."""
    return_s: Seconds = 0.0
    """Time from sending the result until the caller received it."""


@dataclass(frozen=True, slots=True)
class ProcessingResult(_ByFields):
    """The result of processing one batch.

    `success` is true when every task was processed. Otherwise `error` names the processor, the
    batch and the cause, `failures` lists the tasks that raised, and `tasks_processed` counts the
    others. `duration` is wall time in seconds. `started` is `time.perf_counter()` at the start of
    the batch, which is comparable between workers of one machine.
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
    """One JSON value for each task, in order; None for a failed task. The field is None unless rows
    are kept; a `Part` always keeps them."""
    partial: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The aggregate of this batch, which the processor's `merge` adds to others."""
    digest: int | None = 0
    """A 256-bit hash of the batch's position and output. The sum over batches is the run's digest.
    None if it is unknown: see `BatchReport`."""
    failures: tuple[TaskFailure, ...] = ()
    """The tasks that raised. With a `fault`: the task that the worker was running, if known."""
    seen: WorkerSeen = field(default_factory=WorkerSeen)
    fault: Fault | None = None
    """Why the worker did not return a result; None when `process_batch` returned."""
    part: int | None = None
    """The `Part.number` if a part of a batch was run; None for a whole batch."""
    frame: Frame | None = None
    """Where in the user's code a batch failed as a whole; None if it did not, or if not known."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not pickle, so it is sent as a dict.
        values = [getattr(self, f.name) for f in fields(self)]
        values[_PARTIAL] = dict(self.partial)
        return type(self), tuple(values)


_PARTIAL = [f.name for f in fields(ProcessingResult)].index("partial")


@dataclass(frozen=True, slots=True)
class WorkerTotals(_ByFields):
    """The totals of one worker over a whole run."""

    worker: str
    pid: int
    batches: int
    tasks: int
    busy_s: Seconds
    """The sum of the worker's batch durations, which with a GIL include waiting for other
    threads."""
    gil_before: bool
    gil_after: bool
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchReport(_ByFields):
    """The result of a whole run.

    `tasks` counts all tasks, and `failed` those that were not processed. `wall_s` is the time from
    the first batch sent to the last result, with the workers ready; `pool_start_s` is the start-up
    time of the workers. `digest` is the same for all approaches with the same output. It is empty
    if it is unknown: a user's own `process_batch` returned no rows for a batch that was split.
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
    """The merged aggregate of all batches, as the processor's `finish` returns it."""
    failures: tuple[TaskFailure, ...]
    """The first failures, at most `MAX_FAILURES_KEPT`; `failed` counts all."""
    errors: tuple[str, ...]
    """The errors of the first failed batches, at most `MAX_FAILURES_KEPT`."""
    worker_totals: tuple[WorkerTotals, ...]
    interrupted: bool = False
    retried: int = 0
    """How many times a failed batch, or a part of one, was run again."""
    set_aside: int = 0
    """The number of poison tasks that were isolated; they count in `failed` too."""
    set_aside_tasks: tuple[TaskFailure, ...] = ()
    """The first tasks that were set aside, at most `MAX_FAILURES_KEPT`."""
    replaced: int = 0
    """The number of workers that were replaced because they died or overran the deadline."""
    overran: int = 0
    """How many of `replaced` overran the deadline."""
    causes: tuple[FailureCause, ...] = ()
    """The failed tasks by their cause: the first `MAX_CAUSES_KEPT` causes, each with its count."""
    resumed_tasks: int = 0
    """The number of tasks that an earlier run had done, according to the journal."""
    worker_stats: tuple[Any, ...] = ()
    """What each worker did, as `todobatch.executors.WorkerStats`, summed over all rounds."""
    resizes: tuple[Any, ...] = ()
    """The first and the latest changes of an elastic pool's size, as
    `todobatch.executors.Resize`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(
            dict(value) if isinstance(value, MappingProxyType) else value
            for value in (getattr(self, f.name) for f in fields(self))
        )


LONGEST_ERROR = 2_000
"""An error's description is cut after this many characters."""
MAX_FAILURES_KEPT = 100
"""A report keeps at most this many failures, errors and tasks set aside."""
MAX_CAUSES_KEPT = 20
"""A report keeps at most this many causes of failures."""
MAX_TASKS_NAMED = 5
"""A cause of failures names at most this many tasks."""
MOST_FRAMES = 2_000
"""Only this many frames of an exception are searched, from the outermost one."""

_OWN_CODE = __file__.rpartition(os.sep)[0] + os.sep
_STANDARD_LIBRARY = os.__file__.rpartition(os.sep)[0] + os.sep
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def describe_exception(error: BaseException) -> str:
    """Return the type and message of an exception on one line.

    It is cut after `LONGEST_ERROR` characters, and then gives their number.
    """
    try:
        text = "".join(traceback.format_exception_only(error))
    except KeyboardInterrupt:
        raise
    except BaseException:  # the exception's own methods and attributes may raise anything
        text = f"{_type_of(error)}: {_message_of(error)}"
    text = " ".join(text.split())
    if len(text) <= LONGEST_ERROR:
        return text
    return f"{text[:LONGEST_ERROR]}… (cut from {len(text):,} characters)"


def _type_of(error: BaseException) -> str:
    # By the metaclass `type` itself, whatever the exception's own one does.
    return str(type.__dict__["__qualname__"].__get__(type(error)))


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "its message cannot be shown, because that raises an exception"


def frame_of(error: BaseException) -> Frame | None:
    """Return the innermost frame of the user's code that an exception passed through.

    The code of todobatch, the standard library and installed packages is not the user's. If the
    exception passed through nothing else, it is the first frame outside of todobatch. None if there
    is no such frame.
    """
    return _frame_of(error, or_first=True)


def users_frame_of(error: BaseException) -> Frame | None:
    """Return the innermost frame of the user's code, as `frame_of`; None if there is none."""
    return _frame_of(error, or_first=False)


def _frame_of(error: BaseException, *, or_first: bool) -> Frame | None:
    # By the class `BaseException` itself, whatever the exception's own attribute does.
    trace: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    innermost = first = None
    for _ in range(MOST_FRAMES):
        if trace is None:
            break
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_OWN_CODE):
            first = first or trace
            if not _is_library(file):
                innermost = trace
        trace = trace.tb_next
    chosen = innermost or (first if or_first else None)
    if chosen is None:
        return None
    code = chosen.tb_frame.f_code
    return Frame(
        code.co_filename[:LONGEST_ERROR], chosen.tb_lineno or 0, code.co_qualname[:LONGEST_ERROR]
    )


def _is_library(file: str) -> bool:
    """Return whether a file is of the standard library or of an installed package."""
    if file.startswith((_STANDARD_LIBRARY, "<frozen ", "<string>")):
        return True
    return any(folder in file for folder in _PACKAGES)
