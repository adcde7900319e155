"""Any `concurrent.futures.Executor` under our contract, so that it can be measured beside ours.

    from concurrent.futures import ThreadPoolExecutor
    run_batches(tasks, "validate", executor=Wrapped(ThreadPoolExecutor), workers=4)

One call of `submit` a batch, at most `IN_FLIGHT_PER_WORKER` a worker not yet taken by the caller.
The caller's thread owns the feed and the table of what is pending; workers reach it only through
`done`, a queue that futures put themselves into. The pool itself is as its makers made it: where it
breaks when a worker dies, all batches under way are lost (each is a result with the fault
"crashed"), and a new pool runs the rest.
"""

import os
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import Executor as AnyPool
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import perf_counter

from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor
from todobatch.executors.stats import CountedRunner, WorkerStats, add_stats
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.units import Seconds

IN_FLIGHT_PER_WORKER = 3


class Wrapped(Executor):
    """A pool of somebody else's; `make` is called with the number of workers.

    `needs_pickling` says that what is submitted is copied to another process or interpreter, and
    `cpu_parallel` that pure Python code uses several CPUs there.
    """

    summary = "a concurrent.futures.Executor of somebody else's"
    no_deadline = "the pool that it wraps has no way to stop a batch"

    def __init__(
        self,
        make: Callable[[int], AnyPool],
        name: str | None = None,
        *,
        needs_pickling: bool = False,
        cpu_parallel: bool = False,
    ) -> None:
        called = name or str(getattr(make, "__name__", "wrapped"))
        self.name = called  # type: ignore[misc]  # each object has its own
        self._make = make
        self._needs_pickling = needs_pickling
        self._cpu_parallel = cpu_parallel

    @property
    def capabilities(self) -> Capabilities:
        """What its maker said, and the least that any pool can do."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=self._needs_pickling,
            awaits=False,
            cpu_parallel=self._cpu_parallel,
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """See `Executor.open`."""
        self.check(workers, deadline_s)
        try:
            sent = pickle.dumps(processor) if self._needs_pickling else processor
        except Exception as error:
            raise self._did_not_start(error) from error
        pool = self._start(workers)

        def submit(batch: Batch) -> "Future[ProcessingResult]":
            return pool.submit(_work, os.getpid(), sent, batch, keep_rows)

        def run(
            batches: Iterable[Batch],
        ) -> Generator[ProcessingResult, None, tuple[WorkerStats, ...]]:
            nonlocal pool
            feed = iter(batches)
            window = IN_FLIGHT_PER_WORKER * workers
            busy: defaultdict[str, Seconds] = defaultdict(float)
            begun = perf_counter()
            while True:
                try:
                    for result in _run(submit, feed, window, processor.processor_id):
                        if result.seen.pid:
                            busy[result.seen.worker] += result.duration
                        yield result
                except _PoolBrokenError as broken:
                    for batch in broken.lost:
                        cause = "the pool broke while it was under way"
                        yield failed_result(processor.processor_id, batch, cause, fault="crashed")
                    _shut_down(pool)
                    pool = self._start(workers)
                else:
                    wall = perf_counter() - begun
                    stats: dict[str, WorkerStats] = {}
                    for name, took in busy.items():
                        add_stats(stats, WorkerStats(name, took, max(wall - took, 0.0)))
                    return tuple(stats.values())

        try:
            yield CountedRunner(run)
        finally:
            _shut_down(pool)

    def _start(self, workers: int) -> AnyPool:
        """A pool that works, or ExecutorUnavailableError whatever its maker and it may throw."""
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
            f"its pool did not start: {describe_exception(error)}",
            place=f"executor {self.name}",
            remedy="the processor must pickle and be importable where the pool is one of "
            "processes or interpreters; otherwise see the pool's own documentation",
        )


def _shut_down(pool: AnyPool) -> None:
    """End a pool, broken or not: what it throws then hides no result and no other error."""
    with suppress(Exception):
        pool.shutdown(wait=True, cancel_futures=True)


class _PoolBrokenError(Exception):
    """The pool lost a worker, and these batches with it; never leaves the executor."""

    def __init__(self, lost: list[Batch]) -> None:
        super().__init__(f"{len(lost)} batches lost")
        self.lost = lost


def _run(
    submit: Callable[[Batch], "Future[ProcessingResult]"],
    feed: Iterator[Batch],
    window: int,
    processor_id: str,
) -> Iterator[ProcessingResult]:
    """Yield a result a batch as they finish. Raises _PoolBrokenError with those that did not."""
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
            except Exception as refusal:  # it would not take this one; it may take others
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
        elif error is not None:  # it could not be sent there or back
            yield failed_result(processor_id, batch, describe_exception(error))
        else:
            yield future.result()
    if lost:
        raise _PoolBrokenError(lost)


def _work(
    caller: int, sent: TaskBatchProcessor | bytes, batch: Batch, keep_rows: bool
) -> ProcessingResult:
    """In the worker."""
    processor = pickle.loads(sent) if isinstance(sent, bytes) else sent  # noqa: S301 - our own
    if os.getpid() == caller:
        label, method = f"thread-{threading.get_ident()}", "thread"
    else:
        import multiprocessing

        label, method = f"process-{os.getpid()}", multiprocessing.get_start_method()
    return Worker(processor, label, method, keep_rows=keep_rows).work(batch)
