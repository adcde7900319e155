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
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.model import Batch, ProcessingResult, WorkerSeen, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result

MAX_WORKERS = 1_000

Run: TypeAlias = Callable[[Iterable[Batch]], Iterator[ProcessingResult]]


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


class Executor(ABC):
    """One way of running batches side by side."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line: how it runs batches."""

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What it can do on this interpreter."""

    def available(self) -> str | None:
        """None when it works on this interpreter, otherwise the reason why it does not."""
        return None

    @abstractmethod
    def open(
        self, processor: TaskBatchProcessor, workers: int, *, keep_rows: bool = False
    ) -> AbstractContextManager[Run]:
        """Bring up `workers` workers with the processor; use as a context manager.

        `keep_rows` leaves each task's row in the results; otherwise rows stay where they were made.
        Raises ExecutorUnavailableError and, for a senseless number of workers, UsageError.
        """

    def run(
        self,
        processor: TaskBatchProcessor,
        batches: Iterable[Batch],
        *,
        workers: int = 1,
        keep_rows: bool = False,
    ) -> Iterator[ProcessingResult]:
        """`open` and run in one step, workers brought up and ended with it."""
        with self.open(processor, workers, keep_rows=keep_rows) as run:
            yield from run(batches)

    def check(self, workers: int) -> None:
        """Refuse what cannot be opened. Raises ExecutorUnavailableError or UsageError."""
        if not 1 <= workers <= MAX_WORKERS:
            raise UsageError(
                f"{workers} workers cannot be used",
                place="--workers",
                remedy=f"a number from 1 to {MAX_WORKERS}; this machine has "
                f"{runtime.cpus_available()} CPUs",
            )
        if reason := self.available():
            raise ExecutorUnavailableError(
                reason,
                place=f"executor {self.name}",
                remedy="choose another executor, or another interpreter with --interpreter",
            )


def work(
    processor: TaskBatchProcessor, batch: Batch, worker: str, *, keep_rows: bool
) -> ProcessingResult:
    """Process one batch in a worker, and report what the worker is. Used by every executor."""
    gil_before = runtime.gil_enabled()
    try:
        result = processor.process_batch(batch)
    except BaseException as error:  # nothing that a batch throws may end a worker
        if _is_interrupt(error):
            raise
        result = failed_result(processor.processor_id, batch, describe_exception(error))
    return seen_by(processor, batch, result, worker, gil_before=gil_before, keep_rows=keep_rows)


def seen_by(
    processor: TaskBatchProcessor,
    batch: Batch,
    result: ProcessingResult,
    worker: str,
    *,
    gil_before: bool,
    keep_rows: bool,
) -> ProcessingResult:
    """The result with the worker's own account in it, and without rows unless they are wanted.

    What a user's own `process_batch` returned is made to speak of this batch.
    """
    if not isinstance(result, ProcessingResult):
        kind = type(result).__name__
        cause = f"process_batch gave {kind}, not a ProcessingResult"
        result = failed_result(processor.processor_id, batch, cause)
    seen = WorkerSeen(worker, os.getpid(), gil_before, runtime.gil_enabled(), runtime.current_cpu())
    return replace(
        result,
        seen=seen,
        batch=batch.index,
        tasks=len(batch),
        rows=result.rows if keep_rows else None,
    )


def _is_interrupt(error: BaseException) -> bool:
    """Ctrl-C reaches the main thread only, and is for the caller; anywhere else it is a fault."""
    return (
        isinstance(error, KeyboardInterrupt | GeneratorExit)
        and threading.current_thread() is threading.main_thread()
    )
