"""The one contract of all executors.

An executor brings up workers that all hold the same processor, then runs batches on them:

    with executor.open(processor, workers) as run:      # workers are up and ready
        for result in run(batches):                     # in the order in which they finish
            ...

Every batch gives exactly one `ProcessingResult`, whatever happens to it. Batches are taken from the
iterable only as workers become free, so that a stream of any length needs constant memory; the
iterable is advanced by one thread at a time. Leaving the block ends the workers.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, Self, TypeAlias

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.model import Batch, Part, ProcessingResult, WorkerSeen, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.processors.own import has_its_own_results, what_is_wrong
from todobatch.units import Ratio, Seconds

MAX_WORKERS = 1_000
THREADS_NAME = "todobatch-"
"""What the names of all threads begin with that run batches, or drive those that do."""
UNWATCHED = "TODOBATCH_UNWATCHED"
"""Environment: set to 1, workers give no account of each batch. `benchmarks/watching.py` measures
by it what that account costs; samples need it."""
MAX_IN_FLIGHT = 256
"""Batches a worker that may be taken from the input and not yet given back; so many only where
they take some microseconds each, otherwise at most 8."""
MOST_WORKERS_NAMED = 2_000
"""Workers that are told apart in accounts; those that replace so many which died are "others"."""
MOST_RESIZES_KEPT = 1_000
"""Of a run whose pool sizes itself: its beginning and the latest."""

BatchRunner: TypeAlias = Callable[[Iterable[Batch]], Iterator[ProcessingResult]]

Placement: TypeAlias = Literal["spread", "none"]
"""'spread': each worker stays on one of the allowed CPUs, in turn; 'none': on any of them."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an executor can and cannot do, as data."""

    isolates_crashes: bool
    """A worker that is killed or crashes takes no other batch with it."""
    enforces_deadlines: bool
    """A batch that hangs can be stopped."""
    needs_pickling: bool
    """Batches and results are copied to and from the worker."""
    awaits: bool
    """Work that awaits lets other batches go on in the same worker's thread."""
    cpu_parallel: bool
    """Pure Python code runs on several CPUs on this interpreter, with its GIL as it is now."""


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What one worker did in the latest run of an open executor, beyond its results.

    `busy_s`, `idle_s` and `parked_s` add up to the run's wall time, or to the part of it in which
    the worker was there: one that died was there until then, and who replaces it from then on.
    """

    worker: str
    busy_s: Seconds
    """What it spent with batches, also with runs of them that broke or were for nothing. With a GIL
    this includes waiting for other threads, and in `coroutines` for whatever a batch awaits. Where
    batches are copied it includes unpickling them and pickling results."""
    idle_s: Seconds
    """What it spent without a batch."""
    steals: int = 0
    """How often it took batches from another worker."""
    stolen: int = 0
    """How many batches it took so."""
    parked_s: Seconds = 0.0
    """What it spent outside a pool that was smaller than its workers; not in `idle_s`."""
    parkings: int = 0
    """How often it was put there."""

    @property
    def efficiency(self) -> Ratio:
        """Busy ÷ wall; 0 for a worker that was there for no time at all."""
        wall = self.busy_s + self.idle_s + self.parked_s
        return self.busy_s / wall if wall else 0.0

    def plus(self, other: "WorkerStats") -> "WorkerStats":
        """Both added up, under this one's name."""
        counts = (each.name for each in fields(self) if each.name != "worker")
        return WorkerStats(
            self.worker, *(getattr(self, name) + getattr(other, name) for name in counts)
        )


def add_stats(into: dict[str, WorkerStats], each: WorkerStats) -> None:
    """Take one in, by its worker; what there is of that worker already is added to."""
    name = each.worker
    if name not in into and len(into) >= MOST_WORKERS_NAMED:
        name = "others"
    old = into.get(name, WorkerStats(name, 0.0, 0.0))
    into[name] = old.plus(each)


@dataclass(frozen=True, slots=True)
class Resize:
    """That a pool which sizes itself let so many work from then on; the first is its beginning."""

    at_s: Seconds
    """Since the run's begin."""
    size: int
    rate: float | None
    """Tasks a second in the window before; None at the beginning, and where nothing came back."""


def stats_of(run: BatchRunner) -> tuple[WorkerStats, ...]:
    """A worker each, when a run is through; none before that.

    All executors here keep count. `Wrapped` knows the workers only that gave a result.
    """
    stats: tuple[WorkerStats, ...] = getattr(run, "stats", ())
    return stats


def resizes_of(run: BatchRunner) -> tuple[Resize, ...]:
    """The sizes of a pool that sizes itself, when a run is through; none for the others."""
    resizes: tuple[Resize, ...] = getattr(run, "resizes", ())
    return resizes


class Counted:
    """A `BatchRunner` made of a generator that returns the statistics of its workers."""

    def __init__(
        self,
        run: Callable[
            [Iterable[Batch]], Generator[ProcessingResult, None, tuple[WorkerStats, ...]]
        ],
    ) -> None:
        self._run = run
        self.stats: tuple[WorkerStats, ...] = ()

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """See `Executor.open`."""
        self.stats = yield from self._run(batches)


class Executor(ABC):
    """One way of running batches side by side."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line: how it runs batches."""
    no_deadline: ClassVar[str] = "what runs there cannot be stopped"
    """Why it refuses a deadline, for those that do."""

    places: ClassVar[bool] = False
    """Whether its workers can be kept on a CPU each."""
    placement: Placement = "none"

    def placed(self, placement: Placement) -> Self:
        """The same executor with another placement of its workers. Raises UsageError."""
        if placement not in {"spread", "none"}:
            raise UsageError(
                f"unknown placement {placement!r}",
                place="`placement`",
                remedy='choose `placement="spread"` or `placement="none"`',
            )
        if placement == "spread" and not self.places:
            raise UsageError(
                f"workers of {self.name} cannot be kept on a CPU each",
                place="`placement`",
                remedy='choose `placement="none"`, or one of the executors threads, stealing, '
                "elastic, interpreters and processes",
            )
        if placement == "spread" and not hasattr(os, "sched_setaffinity"):
            raise UsageError(
                "this system cannot keep a thread on a CPU",
                place="`placement`",
                remedy='choose `placement="none"`, or run on Linux',
            )
        other = copy(self)
        other.placement = placement
        return other

    def cpus_to_use(self) -> tuple[int, ...]:
        """CPUs that workers are kept on, in turn; none where they may run anywhere."""
        return runtime.cpus_allowed() if self.placement == "spread" else ()

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it can do on this interpreter."""

    def available(self) -> str | None:
        """None when it works on this interpreter, otherwise the reason why it does not."""
        return None

    @abstractmethod
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> AbstractContextManager[BatchRunner]:
        """Bring up `workers` workers with the processor; use as a context manager.

        What it gives may be called several times, one call after the other. Where batches that had
        ended may have more later, a method `due_in` of theirs says in how many seconds, or None: an
        executor may then ask them again while others are under way, but need not. `keep_rows`
        leaves each task's row in the results; otherwise rows stay where they were made. A batch
        that runs longer than `deadline_s` seconds is stopped, its worker replaced, and its result's
        `fault` is "deadline". Raises ExecutorUnavailableError and, for a senseless number of
        workers or a deadline that cannot be kept, UsageError.
        """

    def run(
        self,
        processor: TaskBatchProcessor,
        batches: Iterable[Batch],
        *,
        workers: int = 1,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[ProcessingResult]:
        """`open` and run in one step, workers brought up and ended with it."""
        with self.open(processor, workers, keep_rows=keep_rows, deadline_s=deadline_s) as run:
            yield from run(batches)

    def check(self, workers: int, deadline_s: Seconds | None = None) -> None:
        """Refuse what cannot be opened. Raises ExecutorUnavailableError or UsageError."""
        if deadline_s is not None:
            self._check_deadline(deadline_s)
        if not 1 <= workers <= MAX_WORKERS:
            raise UsageError(
                f"{workers} workers cannot be started",
                place="`workers`",
                remedy=f"give a number from 1 to {MAX_WORKERS}; this machine has "
                f"{runtime.cpus_available()} CPUs",
            )
        if reason := self.available():
            raise ExecutorUnavailableError(
                reason,
                place=f"executor {self.name}",
                remedy="choose another `executor`, or run on another `interpreter`",
            )

    def _check_deadline(self, deadline_s: Seconds) -> None:
        if not self.capabilities.enforces_deadlines:
            raise UsageError(
                f"the executor {self.name} cannot keep a deadline: {self.no_deadline}",
                place="`deadline_s`",
                remedy='choose `executor="processes"`, whose workers can be killed and replaced',
            )
        if not deadline_s > 0:
            raise UsageError(
                f"{deadline_s} seconds cannot be a deadline",
                place="`deadline_s`",
                remedy="give a number above 0, or leave it out to run without a deadline",
            )


class Worker:
    """What runs batches in a worker, and reports what the worker is. Used by every executor.

    Made in the worker, and used by its thread alone.
    """

    def __init__(
        self, processor: TaskBatchProcessor, label: str, start_method: str, *, keep_rows: bool
    ) -> None:
        self.processor = processor
        self.label = label
        self._start_method = start_method
        self._keep_rows = keep_rows
        self._own = has_its_own_results(processor)
        self._pid = os.getpid()
        runtime.current_cpu()  # what it needs is loaded now, not in the first batch's time
        self._unwatched: WorkerSeen | None = None
        if os.environ.get(UNWATCHED):
            gil = runtime.gil_enabled()  # not before: while an extension is loaded the GIL is on
            self._unwatched = WorkerSeen(label, self._pid, gil, gil, None, start_method)

    def work(
        self, batch: Batch, queue_s: Seconds = 0.0, deserialise_s: Seconds = 0.0
    ) -> ProcessingResult:
        """Process one batch, whatever happens to it; the rest is for what was seen."""
        gil_before = runtime.gil_enabled()
        try:
            result = self.processor.process_batch(batch)
        except BaseException as error:  # nothing that a batch throws may end a worker
            if _is_interrupt(error):
                raise
            result = failed_result(self.processor.processor_id, batch, describe_exception(error))
        return self.sign(batch, result, gil_before, queue_s, deserialise_s)

    def sign(
        self,
        batch: Batch,
        result: ProcessingResult,
        gil_before: bool,
        queue_s: Seconds = 0.0,
        deserialise_s: Seconds = 0.0,
    ) -> ProcessingResult:
        """The result with the worker's own account in it, and without rows unless wanted.

        What a user's own `process_batch` returned is made to speak of this batch, and a result that
        makes no sense is a failed one that says so.
        """
        if self._own and (wrong := what_is_wrong(result, batch, keep_rows=self._keep_rows)):
            cause = f"process_batch gave {wrong}"
            result = failed_result(self.processor.processor_id, batch, cause)
        seen = self._unwatched or WorkerSeen(
            self.label,
            self._pid,
            gil_before,
            runtime.gil_enabled(),
            runtime.current_cpu(),
            self._start_method,
            runtime.cpus_allowed(),
            queue_s,
            deserialise_s,
        )
        number = batch.number if isinstance(batch, Part) else None
        # By position, not by `dataclasses.replace`, which takes three times as long.
        return ProcessingResult(
            result.processor_id,
            result.tasks_processed,
            result.duration,
            result.success,
            result.error,
            batch.index,
            len(batch.tasks),
            result.started,
            result.rows if self._keep_rows or number is not None else None,
            result.partial,
            result.digest,
            result.failures,
            seen,
            part=number,
        )


def _is_interrupt(error: BaseException) -> bool:
    """Ctrl-C reaches the main thread only, and is for the caller; anywhere else it is a fault."""
    return (
        isinstance(error, KeyboardInterrupt | GeneratorExit)
        and threading.current_thread() is threading.main_thread()
    )
