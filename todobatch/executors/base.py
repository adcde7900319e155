"""The contract that all executors keep.

An executor starts workers that all hold the same processor, and then runs batches on them:

    with executor.open(processor, workers) as run:      # all workers are ready
        for result in run(batches):                     # in the order in which they finish
            ...

Every batch gives exactly one `ProcessingResult`, even when it raises or its worker dies. Batches
are read only as workers become free, so a stream of any length needs constant memory. One thread at
a time reads the iterable. Leaving the `with` block ends the workers.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import MOST_SECONDS, Seconds

MAX_WORKERS = 1_000
"""The largest number of workers that an executor starts."""
MAX_IN_FLIGHT = 256
"""An executor has read at most this many batches for each worker without returning their results.
If batches take more than some microseconds, it has read at most 8."""
THREADS_NAME = "todobatch-"
"""The names of all threads that run batches or drive workers begin with this."""
MOST_WORKERS_NAMED = 2_000
"""Statistics name at most this many workers of a run; later replacements are summed as "others"."""
MOST_RESIZES_KEPT = 1_000
"""A run keeps at most this many `Resize` records: the first and the latest ones."""

BatchRunner: TypeAlias = Callable[[Iterable[Batch]], Iterator[ProcessingResult]]
"""A function that `Executor.open` returns: it runs batches and yields results as they finish."""

Placement: TypeAlias = Literal["spread", "none"]
"""With ``"spread"`` each worker stays on one CPU; with ``"none"`` the system chooses CPUs."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an executor can do on the running interpreter."""

    isolates_crashes: bool = False
    """Whether a worker that is killed or crashes loses only the batch that it was running."""
    enforces_deadlines: bool = False
    """Whether a batch that hangs can be stopped."""
    needs_pickling: bool = False
    """Whether batches and results are copied to and from the workers."""
    awaits: bool = False
    """Whether other batches run in the same thread while one awaits."""
    cpu_parallel: bool = False
    """Whether pure Python code runs on several CPUs, with the GIL as it is now."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What `Executor.open` is asked to start; it says what each field means."""

    processor: TaskBatchProcessor
    workers: int
    keep_rows: bool
    deadline_s: Seconds | None

    def worker(self, label: str, start_method: str) -> Worker:
        """Return a worker that runs the processor in this process."""
        return Worker(self.processor, label, start_method, keep_rows=self.keep_rows)


class Executor(ABC):
    """One way to run batches in parallel.

    A subclass defines `name`, `summary`, `capabilities` and `start`; see also ``tests/contract``.
    """

    name: ClassVar[str]
    """The name by which users choose the executor, as in ``executor="threads"``."""
    summary: ClassVar[str]
    """One line that says how the executor runs batches."""
    no_deadline: ClassVar[str] = "a batch that runs cannot be stopped"
    """Why the executor cannot stop a batch, and so refuses a deadline."""

    places: ClassVar[bool] = False
    """Whether the executor can keep each worker on one CPU."""
    placement: Placement = "none"
    """Where the workers run, ``"none"`` by default; see `placed`."""

    def placed(self, placement: Placement) -> Self:
        """Return a copy of the executor with another placement of its workers.

        Raises UsageError when the placement is unknown, or when the executor or the system cannot
        keep a worker on one CPU.
        """
        if placement not in {"spread", "none"}:
            raise UsageError(
                f"unknown placement {placement!r}",
                place="`placement`",
                remedy='choose `placement="spread"` or `placement="none"`',
            )
        if placement == "spread" and not self.places:
            raise UsageError(
                f"the executor {self.name} cannot keep each worker on one CPU",
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
        """Return the CPUs to pin workers to, one each in turn; empty with placement ``"none"``."""
        return runtime.cpus_allowed() if self.placement == "spread" else ()

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the executor can do on this interpreter."""

    def available(self) -> str | None:
        """Return None if the executor works on this interpreter, otherwise why it does not."""
        return None

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """Start `workers` workers for the processor; use as a context manager.

        The context manager gives a `BatchRunner`, which may be called several times, one call after
        the other. A run that is unfinished at the end of the block is ended. `keep_rows` leaves
        each task's row in the results; otherwise rows stay in the worker. A batch that runs longer
        than `deadline_s` seconds is stopped, its worker is replaced, and its result has the fault
        ``"deadline"``.

        An iterable of batches may have a method `due_in`. When the iterable has ended, it returns
        the seconds until more batches may come, or None. An executor may then read the iterable
        again while other batches are in flight.

        Raises ExecutorUnavailableError when the executor does not work here or a worker does not
        start. Raises UsageError for a number of workers outside 1 to `MAX_WORKERS`. It also does so
        for a deadline that is not above 0 or that the executor cannot keep, and for a run that
        begins before another has ended or after the block.
        """
        self.check(workers, deadline_s)
        with self.start(Opening(processor, workers, keep_rows, deadline_s)) as run:
            opened = _Opened(run, self.name)
            try:
                yield opened
            finally:
                opened.close()

    @abstractmethod
    def start(self, opening: Opening) -> AbstractContextManager[BatchRunner]:
        """Start the workers that `open` was asked for, and end them after the ``with`` block."""

    def run(
        self,
        processor: TaskBatchProcessor,
        batches: Iterable[Batch],
        *,
        workers: int = 1,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[ProcessingResult]:
        """Start workers, yield a result for each batch as it finishes, and end the workers.

        For the arguments and the errors raised see `open`.
        """
        with self.open(processor, workers, keep_rows=keep_rows, deadline_s=deadline_s) as run:
            yield from run(batches)

    def check(self, workers: int, deadline_s: Seconds | None = None) -> None:
        """Raise ExecutorUnavailableError or UsageError if `open` would refuse these arguments."""
        if deadline_s is not None and not self.capabilities.enforces_deadlines:
            raise UsageError(
                f"the executor {self.name} cannot keep a deadline: {self.no_deadline}",
                place="`deadline_s`",
                remedy='choose `executor="processes"`, whose workers can be killed and replaced',
            )
        if deadline_s is not None and not 0 < deadline_s <= MOST_SECONDS:
            raise UsageError(
                f"{deadline_s} seconds cannot be a deadline",
                place="`deadline_s`",
                remedy=f"give a number above 0 and up to {MOST_SECONDS:,}, or leave it out to run "
                "without a deadline",
            )
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


class UntilError(Iterator[Batch]):
    """An input that ends where it raises, so that the batches in flight come back first."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.error: Exception | None = None
        """What the input raised; raise it when all batches have come back."""

    def __next__(self) -> Batch:
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise StopIteration from error


class _UntilClosed(Iterator[Batch]):
    """An input that ends when its executor is closed."""

    def __init__(self, batches: Iterable[Batch], is_closed: Callable[[], bool]) -> None:
        self._batches = iter(batches)
        self._is_closed = is_closed
        self._due_in: Callable[[], Seconds | None] = getattr(batches, "due_in", lambda: None)

    def __next__(self) -> Batch:
        if self._is_closed():
            raise StopIteration
        return next(self._batches)

    def due_in(self) -> Seconds | None:
        """Return in how many seconds more batches may come; see `Executor.open`."""
        return None if self._is_closed() else self._due_in()


class _Opened:
    """The `BatchRunner` of an open executor: it allows one run at a time, and none after the end.

    `_lock` guards `_closed`, `_results` and `_owner`, which change together.
    """

    def __init__(self, run: BatchRunner, name: str) -> None:
        self._run = run
        self._name = name
        self._lock = threading.Lock()
        self._closed = False
        self._results: Iterator[ProcessingResult] | None = None
        """The results of the unfinished run."""
        self._owner = 0
        """The thread that began it."""
        self._ended = threading.Event()

    @property
    def stats(self) -> Any:
        """What `stats_of` returns."""
        return getattr(self._run, "stats", ())

    @property
    def resizes(self) -> Any:
        """What `resizes_of` returns."""
        return getattr(self._run, "resizes", ())

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run the batches, and yield a result for each; see `Executor.open`."""
        with self._lock:
            if self._closed or self._results is not None:
                raise self._refusal()
            self._results = results = iter(self._run(_UntilClosed(batches, self.is_closed)))
            self._owner = threading.get_ident()
            self._ended.clear()
        try:
            yield from results
            if self._closed:  # `close` has ended the run
                raise self._refusal()
        except ValueError as error:
            if not self._closed:
                raise
            # "generator already executing": `close` ends the run in another thread.
            raise self._refusal() from error
        finally:
            with self._lock:
                self._results = None
                self._ended.set()

    def is_closed(self) -> bool:
        """Return whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End an unfinished run: the batches in flight finish, and their results are dropped.

        If another thread waits for a result at present, it gets UsageError when they have finished.
        """
        with self._lock:
            self._closed = True
            unfinished, owner = self._results, self._owner
        if isinstance(unfinished, Generator):
            try:
                unfinished.close()
            except ValueError:  # another thread is in it, and finds the end of the input
                if owner != threading.get_ident():
                    self._ended.wait()

    def _refusal(self) -> UsageError:
        if self._closed:
            return UsageError(
                "the executor is closed",
                place=f"executor {self._name}",
                remedy="read all results before the with block of Executor.open ends",
            )
        return UsageError(
            "the executor runs other batches at present",
            place=f"executor {self._name}",
            remedy="read all results of the first run, or close its iterator; or open a second "
            "executor",
        )
