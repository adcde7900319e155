"""`Wrapped`: any `concurrent.futures.Executor` under the contract of todobatch's own executors.

    from concurrent.futures import ThreadPoolExecutor
    run_batches(tasks, "validate", executor=Wrapped(ThreadPoolExecutor), workers=4)

    feed ──► submit, one call a batch ──► the pool ──► done (queue of futures) ──► caller

At most `IN_FLIGHT_PER_WORKER` batches a worker are in flight. The caller's thread owns the feed and
the table of pending futures; workers reach only the queue `done`. When a pool breaks, each batch in
flight fails with the fault "crashed", and a new pool runs the rest.
"""

import os
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import Executor as AnyPool
from contextlib import contextmanager, suppress
from contextvars import Context
from queue import SimpleQueue
from time import perf_counter

from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening, UntilError
from todobatch.executors.stats import CountedResults, CountedRunner, WorkerStats, add_stats
from todobatch.executors.worker import Worker, own_context
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.units import Seconds

IN_FLIGHT_PER_WORKER = 3
"""At most this many batches are in flight for each worker."""


class Wrapped(Executor):
    """Runs batches on any `concurrent.futures.Executor`, which `make` creates.

    `make` is called with the number of workers. `name` names the executor in results; it defaults
    to the name of `make`. Set `needs_pickling` if the pool copies what is submitted to another
    process or interpreter, and `cpu_parallel` if pure Python code uses several CPUs in it.
    """

    summary = "any concurrent.futures.Executor"
    no_deadline = "the pool that it wraps cannot stop a batch"

    def __init__(
        self,
        make: Callable[[int], AnyPool],
        name: str | None = None,
        *,
        needs_pickling: bool = False,
        cpu_parallel: bool = False,
    ) -> None:
        chosen = name or str(getattr(make, "__name__", "wrapped"))
        self.name = chosen  # type: ignore[misc]  # each object has its own
        self._make = make
        self._capabilities = Capabilities(needs_pickling=needs_pickling, cpu_parallel=cpu_parallel)

    @property
    def capabilities(self) -> Capabilities:
        """Return what the executor can do, by the constructor's arguments; it isolates no crash."""
        return self._capabilities

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the pool, and shut it down after the block."""
        processor, workers, keep_rows = opening.processor, opening.workers, opening.keep_rows
        try:
            sent = pickle.dumps(processor) if self.capabilities.needs_pickling else processor
        except Exception as error:
            raise self._did_not_start(error) from error
        pool = self._start(workers)

        def submit(batch: Batch) -> "Future[ProcessingResult]":
            context = None if self.capabilities.needs_pickling else own_context()
            return pool.submit(_work, os.getpid(), sent, batch, keep_rows, context)

        def run(batches: Iterable[Batch]) -> CountedResults:
            nonlocal pool
            feed = UntilError(iter(batches))
            window = IN_FLIGHT_PER_WORKER * workers
            busy: defaultdict[str, Seconds] = defaultdict(float)
            begun = perf_counter()
            while lost := (yield from _run(submit, feed, window, processor.processor_id, busy)):
                for batch in lost:
                    cause = "the pool broke while the batch was in flight"
                    yield failed_result(processor.processor_id, batch, cause, fault="crashed")
                _shut_down(pool)
                pool = self._start(workers)
            if feed.error is not None:
                raise feed.error
            return _stats(busy, perf_counter() - begun)

        try:
            yield CountedRunner(run)
        finally:
            _shut_down(pool)

    def _start(self, workers: int) -> AnyPool:
        """Make a pool and try it. Raises ExecutorUnavailableError if the pool raises anything."""
        pool: AnyPool | None = None
        try:
            pool = self._make(workers)
            for future in [pool.submit(os.getpid) for _ in range(workers)]:
                future.result()
        except Exception as error:
            if pool is not None:
                _shut_down(pool)
            raise self._did_not_start(error) from error
        return pool

    def _did_not_start(self, error: Exception) -> ExecutorUnavailableError:
        return ExecutorUnavailableError(
            f"the wrapped pool did not start: {describe_exception(error)}",
            place=f"executor {self.name}",
            remedy="in a pool of processes or interpreters the processor must pickle and be "
            "importable; otherwise see the documentation of the pool",
        )


def _stats(busy: Mapping[str, Seconds], wall: Seconds) -> tuple[WorkerStats, ...]:
    stats: dict[str, WorkerStats] = {}
    for name, seconds in busy.items():
        add_stats(stats, WorkerStats(name, seconds, max(wall - seconds, 0.0)))
    return tuple(stats.values())


def _shut_down(pool: AnyPool) -> None:
    """Shut a pool down, and ignore its errors, which must not hide a result or another error."""
    with suppress(Exception):
        pool.shutdown(wait=True, cancel_futures=True)


def _run(
    submit: Callable[[Batch], "Future[ProcessingResult]"],
    feed: Iterator[Batch],
    window: int,
    processor_id: str,
    busy: defaultdict[str, Seconds],
) -> Generator[ProcessingResult, None, list[Batch]]:
    """Yield results as batches finish, and add their durations to `busy`, by worker.

    Returns the batches that were lost because the pool broke; none at the end of the feed.
    """
    done: SimpleQueue[Future[ProcessingResult]] = SimpleQueue()
    pending: dict[Future[ProcessingResult], Batch] = {}
    lost: list[Batch] = []
    exhausted = False
    while True:
        while not exhausted and not lost and len(pending) < window:
            batch = next(feed, None)
            if batch is None:
                exhausted = True
                break
            try:
                future = submit(batch)
            except BrokenExecutor:
                lost.append(batch)
                break
            except Exception as refusal:  # the pool may accept other batches
                yield failed_result(processor_id, batch, describe_exception(refusal))
                continue
            pending[future] = batch
            future.add_done_callback(done.put)
        if not pending:
            break
        future = done.get()
        batch = pending.pop(future)
        error = CancelledError() if future.cancelled() else future.exception()
        if isinstance(error, BrokenExecutor):
            lost.append(batch)
        elif error is not None:  # the batch or its result could not be sent
            yield failed_result(processor_id, batch, describe_exception(error))
        else:
            result = future.result()
            busy[result.seen.worker] += result.duration
            yield result
    return lost


def _work(
    caller: int,
    sent: TaskBatchProcessor | bytes,
    batch: Batch,
    keep_rows: bool,
    context: Context | None,
) -> ProcessingResult:
    """Process a batch in a worker of the pool; `caller` is the process id of the caller."""
    processor = pickle.loads(sent) if isinstance(sent, bytes) else sent  # noqa: S301 - our own
    if os.getpid() == caller:
        label, method = f"thread-{threading.get_ident()}", "thread"
    else:
        import multiprocessing

        label, method = f"process-{os.getpid()}", multiprocessing.get_start_method()
    work = Worker(processor, label, method, keep_rows=keep_rows).work
    return work(batch) if context is None else context.run(work, batch)
