"""The worker's side of every executor: it runs a batch and records what the worker saw."""

import os
import sys
import threading
from contextvars import Context, copy_context

from todobatch import runtime
from todobatch.model import (
    Batch,
    Part,
    ProcessingResult,
    WorkerSeen,
    describe_exception,
    frame_of,
)
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.processors.own import has_its_own_results, what_is_wrong
from todobatch.units import Seconds


class Worker:
    """Runs batches in one worker, and records times, CPU and GIL state with each result.

    An executor makes one in each worker, and only that worker's thread uses it. For `label` and
    `start_method` see `WorkerSeen`. With `keep_rows` the results keep each task's row. For
    `progress` see `TaskBatchProcessor._process_each`.
    """

    def __init__(
        self,
        processor: TaskBatchProcessor,
        label: str,
        start_method: str,
        *,
        keep_rows: bool,
        progress: memoryview | None = None,
    ) -> None:
        self.processor = processor
        self.label = label
        self._start_method = start_method
        self._keep_rows = keep_rows
        self._own = has_its_own_results(processor)
        method = getattr(getattr(processor, "process_batch", None), "__func__", None)
        inherited = method is TaskBatchProcessor.process_batch
        self._progress = progress if inherited else None
        self._pid = os.getpid()
        runtime.current_cpu()  # load the C library now, outside the first batch's time

    def work(
        self, batch: Batch, queue_s: Seconds = 0.0, deserialise_s: Seconds = 0.0
    ) -> ProcessingResult:
        """Process one batch and return its result, a failed one if the batch raises.

        `queue_s` and `deserialise_s` are the seconds of waiting and unpickling, for `WorkerSeen`.
        """
        gil_before, forks = runtime.gil_enabled(), runtime.forks
        try:
            if self._progress is None:
                result = self.processor.process_batch(batch)
            else:
                result = self.processor._process_each(batch, self._progress)  # noqa: SLF001 - ours
        except BaseException as error:  # a batch must never end its worker
            if runtime.forks != forks:
                runtime.end_forked_child(error)
            if is_interrupt(error):
                raise
            result = failed_result(
                self.processor.processor_id, batch, describe_exception(error), frame=frame_of(error)
            )
        if runtime.forks != forks:
            runtime.end_forked_child()
        return self.sign(batch, result, gil_before, queue_s, deserialise_s)

    def sign(
        self,
        batch: Batch,
        result: ProcessingResult,
        gil_before: bool,
        queue_s: Seconds = 0.0,
        deserialise_s: Seconds = 0.0,
    ) -> ProcessingResult:
        """Add the worker's records to a result, and drop the rows unless they are kept.

        A user's `process_batch` may return anything. Its result gets this batch's numbers. A result
        that contradicts itself is replaced by a failed one that says why.
        """
        if self._own and (wrong := what_is_wrong(result, batch, keep_rows=self._keep_rows)):
            cause = f"process_batch returned {wrong}"
            result = failed_result(self.processor.processor_id, batch, cause)
        seen = WorkerSeen(
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
        # `dataclasses.replace` would take three times as long.
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
            frame=result.frame,
        )


def own_context() -> Context:
    """Return a copy of this thread's context, with a decimal context that no other worker shares.

    Threads begin with an empty context, or share that of their parent: it depends on the build.
    """
    context = copy_context()
    if decimal := sys.modules.get("decimal"):
        context.run(lambda: decimal.setcontext(decimal.getcontext().copy()))
    return context


def is_interrupt(error: BaseException) -> bool:
    """Return whether the error must reach the caller, such as a Ctrl-C in the main thread."""
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )
