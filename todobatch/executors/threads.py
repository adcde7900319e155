"""`threads`: workers that pull batches from one shared iterator.

    batches ── feed_lock ──► worker 1 ─┐
    (one iterator)       ──► worker 2 ─┼─► results (queue) ──► caller
                         ──► worker n ─┘

`_Run._feed_lock` guards the iterator and `_Run._closed`. `_Run._room` is a counting semaphore: a
worker takes a place before it pulls a batch and the caller gives it back when it has taken the
result, so that results cannot pile up in front of a slow caller. The rest belongs to one thread.
Whether the threads run side by side is up to the interpreter: see `runtime.gil_enabled`.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import Capabilities, Executor, Run, Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

IN_FLIGHT_PER_WORKER = 4


class Threads(Executor):
    """A fixed pool of threads; with a free-threaded interpreter they use all CPUs."""

    name = "threads"
    no_deadline = "a thread that hangs cannot be stopped"
    summary = "a pool of threads in one process, nothing copied"

    @property
    def capabilities(self) -> Capabilities:
        """Parallel where the GIL is off; a crash takes the whole process with it."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=False,
            awaits=False,
            cpu_parallel=not runtime.gil_enabled(),
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[Run]:
        """See `Executor.open`."""
        self.check(workers, deadline_s)
        inboxes: SimpleQueue[_Run | None] = SimpleQueue()
        ready = threading.Barrier(workers + 1)

        def serve(label: str) -> None:
            try:
                ready.wait()
            except threading.BrokenBarrierError:
                return  # not all of them could be started
            worker = Worker(processor, label, "thread", keep_rows=keep_rows)
            while (job := inboxes.get()) is not None:
                job.work(worker)

        threads = [
            threading.Thread(
                target=serve, args=(f"thread-{n}",), name=f"todobatch-{n}", daemon=True
            )
            for n in range(1, workers + 1)
        ]
        try:
            for thread in threads:
                thread.start()
        except RuntimeError as error:  # the system's limit on threads
            ready.abort()
            raise ExecutorUnavailableError(
                f"{workers} threads cannot be started: {error}",
                place="executor threads",
                remedy="use fewer workers, or raise the limit on processes and threads",
            ) from error
        ready.wait()

        def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
            job = _Run(batches, workers)
            for _ in threads:
                inboxes.put(job)
            yield from job.results_as_they_come()

        try:
            yield run
        finally:
            for _ in threads:
                inboxes.put(None)
            for thread in threads:
                thread.join()


class _Run:
    """One pass over an iterable of batches, shared by all workers."""

    def __init__(self, batches: Iterable[Batch], workers: int) -> None:
        self._feed = iter(batches)
        self._feed_lock = threading.Lock()
        self._closed = False
        self._room = threading.Semaphore(IN_FLIGHT_PER_WORKER * workers)
        self._results: SimpleQueue[ProcessingResult | BaseException | None] = SimpleQueue()
        self._workers = workers

    def work(self, worker: Worker) -> None:
        """A worker's share: pull, work, hand in, until there is no more."""
        try:
            while (batch := self._next()) is not None:
                self._results.put(worker.work(batch))
        except BaseException as error:  # a fault of ours: the caller must see it, not a lost batch
            self._results.put(error)
        finally:
            self._results.put(None)

    def results_as_they_come(self) -> Iterator[ProcessingResult]:
        """Yield results until every worker is through; raise what the feed raised."""
        working = self._workers
        broken: BaseException | None = None
        try:
            while working:
                result = self._results.get()
                if result is None:
                    working -= 1
                elif isinstance(result, BaseException):
                    broken = result
                else:
                    self._room.release()
                    yield result
        finally:
            self._close()
            while working:
                working -= self._results.get() is None
        if broken is not None:
            raise broken

    def _next(self) -> Batch | None:
        self._room.acquire()
        with self._feed_lock:
            if self._closed:
                return None
            try:
                batch = next(self._feed, None)
            except BaseException as error:  # what reading the input threw is the caller's to see
                self._results.put(error)
                batch = None
            self._closed = batch is None
        if batch is None:
            self._room.release()  # the next worker must find the feed closed, not wait for room
        return batch

    def _close(self) -> None:
        """Let no worker take another batch, and wake those that wait for room."""
        with self._feed_lock:
            self._closed = True
        self._room.release(self._workers)
