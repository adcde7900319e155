"""`threads`: workers that pull batches from one shared iterator.

    batches ── feed_lock ──► worker 1 ─┐
    (one iterator)       ──► worker 2 ─┼─► results (queue) ──► caller
                         ──► worker n ─┘

Short batches are pulled several at a time, as many as make up `CHUNK_S` of work by what the
worker's latest ones took, and their results are handed in together: so what threads share, the
feed and the queue, is touched some times a millisecond at most, however short a batch is. At the
end of the input, who is idle takes from those who have pulled several: a long batch holds up none
that were pulled with it.

`Pass._feed_lock` guards the iterator, `Pass._closed` and what is put into a worker's chunk; out of
it batches are taken without a lock, for a deque's `popleft` and `pop` are whole, GIL or not. Each
worker has a counting semaphore of its own: it takes a place before it pulls, and the caller gives
that back when it has taken the results, so that results cannot pile up in front of a slow caller.
The rest belongs to one thread.
Whether the threads run side by side is up to the interpreter: see `runtime.gil_enabled`. All work
with the same processor: copies of it, one a thread, were no faster without a GIL.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import perf_counter

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor
from todobatch.executors.stats import Resize, WorkerStats
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

CHUNK_S: Seconds = 0.0003
"""Work that is pulled and handed in at once: long against what that costs, some microseconds."""
MOST_IN_CHUNK = 32
CHUNKS_IN_FLIGHT = 4
"""Of one worker: pulled, and their results not yet taken by the caller."""


class Threads(Executor):
    """A fixed pool of threads; with a free-threaded interpreter they use all CPUs."""

    name = "threads"
    places = True
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
    ) -> Iterator[BatchRunner]:
        """See `Executor.open`."""
        self.check(workers, deadline_s)
        cpus = self.cpus_to_use()
        crew = _Crew(self.pass_over, processor, workers, cpus, keep_rows=keep_rows)
        try:
            crew.start()
        except RuntimeError as error:  # the system's limit on threads
            raise ExecutorUnavailableError(
                f"{workers} threads cannot be started: {error}",
                place=f"executor {self.name}",
                remedy="use fewer workers, or raise the limit on processes and threads",
            ) from error
        try:
            yield crew
        finally:
            crew.end()

    pass_over: "Callable[[Iterable[Batch], int], Pass]"
    """How its workers share an iterable of batches."""


class _Crew:
    """The threads of one `open`; called, it runs batches on them."""

    def __init__(
        self,
        pass_over: "Callable[[Iterable[Batch], int], Pass]",
        processor: TaskBatchProcessor,
        workers: int,
        cpus: tuple[int, ...],
        *,
        keep_rows: bool,
    ) -> None:
        self._cpus = cpus
        self.stats: tuple[WorkerStats, ...] = ()
        self.resizes: tuple[Resize, ...] = ()
        self._pass_over = pass_over
        self._processor = processor
        self._keep_rows = keep_rows
        self._inboxes: list[SimpleQueue[Pass | None]] = [SimpleQueue() for _ in range(workers)]
        self._ready = threading.Barrier(workers + 1)
        self._trouble: BaseException | None = None
        """Why a thread could not begin; whichever was last to say so."""
        self._threads = [
            threading.Thread(target=self._serve, args=(n,), name=f"todobatch-{n + 1}", daemon=True)
            for n in range(workers)
        ]

    def start(self) -> None:
        """Start all and wait until they are up. Raises RuntimeError where that cannot be done."""
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:
            self._ready.abort()
            raise
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            assert self._trouble is not None
            raise RuntimeError(describe_exception(self._trouble)) from self._trouble

    def end(self) -> None:
        """End them and wait for it."""
        for inbox in self._inboxes:
            inbox.put(None)
        for thread in self._threads:
            thread.join()

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """See `Executor.open`."""
        job = self._pass_over(batches, len(self._threads))
        for inbox in self._inboxes:
            inbox.put(job)
        yield from job.results_as_they_come()
        self.stats, self.resizes = job.stats(), job.resizes()

    def _serve(self, number: int) -> None:
        try:
            if self._cpus:
                runtime.stay_on(self._cpus[number % len(self._cpus)])
            label = f"thread-{number + 1}"
            worker = Worker(self._processor, label, "thread", keep_rows=self._keep_rows)
        except BaseException as error:  # who waits at the barrier must not wait for ever
            self._trouble = error
            self._ready.abort()
            return
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            return  # not all of them could be started
        while (job := self._inboxes[number].get()) is not None:
            job.work(worker, number)


class Pass:
    """One pass over an iterable of batches, shared by all workers."""

    def __init__(self, batches: Iterable[Batch], workers: int) -> None:
        self._feed = iter(batches)
        self._feed_lock = threading.Lock()
        self._closed = False
        self._left = False
        """The caller is through, or has left; written by its thread only."""
        self._rooms = [threading.Semaphore(CHUNKS_IN_FLIGHT) for _ in range(workers)]
        self._news: SimpleQueue[tuple[int, list[ProcessingResult]] | BaseException | None] = (
            SimpleQueue()
        )
        self._begun = perf_counter()
        self._chunks: list[deque[Batch]] = [deque() for _ in range(workers)]
        # Each worker writes its own place only.
        self._names = [""] * workers
        self._busy = [0.0] * workers

    def work(self, worker: Worker, share: int) -> None:
        """A worker's share: pull, work, hand in, until there is no more."""
        self._names[share] = worker.label
        wanted = 1
        take = self._chunks[share].popleft
        try:
            while self._pull(share, wanted):
                pulled = begun = perf_counter()
                results: list[ProcessingResult] = []
                while True:
                    try:
                        batch = take()
                    except IndexError:  # all are done, or taken by others
                        break
                    results.append(worker.work(batch, begun - pulled))
                    begun = perf_counter()
                self._busy[share] += begun - pulled
                self._news.put((share, results))
                each = max((begun - pulled) / max(len(results), 1), 1e-6)
                wanted = min(max(int(CHUNK_S / each), 1), 2 * wanted, MOST_IN_CHUNK)
        except BaseException as error:  # a fault of ours: the caller must see it, not a lost batch
            self._news.put(error)
        finally:
            self._news.put(None)

    def stats(self) -> tuple[WorkerStats, ...]:
        """What each worker did, when all are through."""
        wall = perf_counter() - self._begun
        return tuple(
            WorkerStats(name, busy, max(wall - busy, 0.0))
            for name, busy in zip(self._names, self._busy, strict=True)
        )

    def resizes(self) -> tuple[Resize, ...]:
        """How many of them worked, from when on; none where they all do."""
        return ()

    def results_as_they_come(self) -> Iterator[ProcessingResult]:
        """Yield results until every worker is through; raise what the feed raised."""
        working = len(self._rooms)
        broken: BaseException | None = None
        try:
            while working:
                news = self._next_news()
                if news is None:
                    working -= 1
                elif isinstance(news, BaseException):
                    broken = news
                else:
                    share, results = news
                    yield from results
                    self._rooms[share].release()
        finally:
            self._close()
            while working:
                working -= self._news.get() is None
        if broken is not None:
            raise broken

    def _next_news(self) -> tuple[int, list[ProcessingResult]] | BaseException | None:
        """Wait for the next chunk of results, a fault, or None for a worker that is through."""
        return self._news.get()

    def _pull(self, share: int, wanted: int) -> bool:
        """Put the next batches into the worker's chunk; false when there are no more."""
        self._rooms[share].acquire()
        with self._feed_lock:
            mine = self._chunks[share]
            mine.extend(self._read(wanted))
            if not mine and not self._left:
                for other in self._chunks:
                    with suppress(IndexError):  # its owner was quicker
                        mine.append(other.pop())
                        break
            return bool(mine)

    def _read(self, wanted: int) -> list[Batch]:
        """Batches from the feed, whose lock is held. Does not wait for a slow input to fill up."""
        batches: list[Batch] = []
        begun = perf_counter()
        while not self._closed and len(batches) < wanted:
            try:
                batch = next(self._feed, None)
            except BaseException as error:  # what reading the input threw is the caller's
                self._news.put(error)
                batch = None
            if batch is None:
                self._closed = True
            else:
                batches.append(batch)
                if perf_counter() - begun > CHUNK_S:
                    break
        return batches

    def _close(self) -> None:
        """Let no worker pull another batch, and wake those that wait for room."""
        self._left = True
        with self._feed_lock:
            self._closed = True
        for room in self._rooms:
            room.release()


Threads.pass_over = Pass
