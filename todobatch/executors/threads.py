"""`threads`: workers that pull batches from one shared iterator.

    batches ── feed_lock ──► worker 1 ─┐
    (one iterator)       ──► worker 2 ─┼─► results (queue) ──► caller
                         ──► worker n ─┘

A worker pulls short batches several at a time, as many as make up `CHUNK_S` of work, and returns
their results together. So threads touch the feed and the queue, which they share, a few times a
millisecond at most. At the end of the input, idle workers take batches from the chunks of others,
so no batch waits behind a long one.

`Pass._feed_lock` guards the iterator, `Pass._closed` and the filling of chunks. Taking a batch from
a chunk needs no lock, because a deque's `popleft` and `pop` are atomic with and without a GIL. Each
worker acquires its semaphore before it pulls. The caller releases it after it has yielded the
results, so results cannot pile up.

User code can raise an exception in a worker's thread between two tasks. The worker goes on, and the
caller answers the batches that were in its hands: `Pass._due` has what was read and not answered.

Whether threads run on several CPUs is up to the interpreter: see `runtime.gil_enabled`. All threads
share one processor; a copy for each was not faster without a GIL.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TypeAlias

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening
from todobatch.executors.stats import Resize, WorkerStats
from todobatch.executors.worker import Worker, own_context
from todobatch.model import Batch, Part, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result
from todobatch.units import Seconds

CHUNK_S: Seconds = 0.0003
"""A worker pulls about this many seconds of work at once. Each pull costs some microseconds."""
MOST_IN_CHUNK = 32
"""A worker pulls at most this many batches at once."""
CHUNKS_IN_FLIGHT = 4
"""A worker has at most this many chunks whose results the caller has not yielded."""
MOST_STRAYS = 1_000
"""A worker goes on after this many exceptions between tasks in a run; then the run ends."""
MOST_GIVEN = 10
"""A worker is given a run this many times at most, if exceptions make it lose the run."""
SILENCE_S: Seconds = 1.0
"""When no result came for this long, the caller looks whether the workers live."""

News: TypeAlias = tuple[int, list[ProcessingResult] | None] | BaseException
"""The number of a worker with its results, or with None at its end; or an error."""


class Pass:
    """A run over an iterable of batches that all workers share."""

    def __init__(self, batches: Iterable[Batch], workers: int) -> None:
        self._feed = iter(batches)
        self._feed_lock = threading.Lock()
        self._closed = False
        self._left = False
        """Whether the caller has finished or left. Only its thread writes this."""
        self._rooms = [threading.Semaphore(CHUNKS_IN_FLIGHT) for _ in range(workers)]
        self._news: SimpleQueue[News] = SimpleQueue()
        self._due: dict[tuple[int, int | None], Batch] = {}
        """What was read from the feed and has no result yet, by numbers of batch and part. Workers
        add to it under `_feed_lock`; only the caller's thread removes."""
        self._begun = perf_counter()
        self._chunks: list[deque[Batch]] = [deque() for _ in range(workers)]
        # Each worker writes only its own element of these.
        self._names = [""] * workers
        self._busy = [0.0] * workers
        # Only the caller's thread uses these two.
        self._working = set(range(workers))
        self.lives: Callable[[int], bool] = lambda _: True
        """Says whether a worker lives, and gives this run again to one that has lost it."""
        # Any worker sets these two; the caller reads them when all have finished.
        self._worker: Worker | None = None
        self._stray: BaseException | None = None
        """The latest exception that reached a worker outside of a task."""

    def work(self, worker: Worker, share: int) -> None:
        """Process batches until the input ends, in the thread of worker number `share`.

        User code can raise an exception in this thread at any time, even between two tasks. The
        worker goes on then; the caller answers what it was doing (`_unanswered`).
        """
        self._names[share] = worker.label
        self._worker = worker
        for strays in range(MOST_STRAYS):
            if self._left:  # there may be no room to wait for
                break
            try:
                self._process(worker, share)
                break
            except BaseException as error:
                self._stray = error
                if strays == MOST_STRAYS - 1:
                    self._news.put(error)  # a bug in todobatch, which the caller must see
                self._rooms[share].release()
        self._news.put((share, None))

    def _process(self, worker: Worker, share: int) -> None:
        wanted = 1
        next_batch = self._chunks[share].popleft
        while self._pull(share, wanted):
            pulled = begun = perf_counter()
            results: list[ProcessingResult] = []
            while True:
                try:
                    batch = next_batch()
                except IndexError:
                    break
                results.append(worker.work(batch, begun - pulled))
                begun = perf_counter()
            self._busy[share] += begun - pulled
            self._news.put((share, results))
            each = max((begun - pulled) / max(len(results), 1), 1e-6)
            wanted = min(max(int(CHUNK_S / each), 1), 2 * wanted, MOST_IN_CHUNK)

    def stats(self) -> tuple[WorkerStats, ...]:
        """Return what each worker did; call it when all have finished."""
        wall = perf_counter() - self._begun
        return tuple(
            WorkerStats(name, busy, max(wall - busy, 0.0))
            for name, busy in zip(self._names, self._busy, strict=True)
        )

    def resizes(self) -> tuple[Resize, ...]:
        """Return the sizes that an elastic pool had; empty for other pools."""
        return ()

    def results_as_they_come(self) -> Iterator[ProcessingResult]:
        """Yield results until every worker has finished; raise what the feed raised."""
        broken: BaseException | None = None
        due, working = self._due, self._working
        try:
            while working:
                news = self._next_news()
                if isinstance(news, BaseException):
                    broken = news
                    continue
                share, results = news
                if results is None:
                    working.discard(share)
                    continue
                for result in results:
                    due.pop((result.batch, result.part), None)  # numbers may occur twice
                    yield result
                self._rooms[share].release()
            if broken is None:
                yield from self._unanswered()
        finally:
            self._close()
            while working:
                news = self._next_news()
                if not isinstance(news, BaseException) and news[1] is None:
                    working.discard(news[0])
        if broken is not None:
            raise broken

    def _unanswered(self) -> Iterator[ProcessingResult]:
        """Yield a failed result for each batch that an exception between two tasks interrupted."""
        if not self._due or self._worker is None:
            return
        cause = "an exception reached the worker outside of its tasks"
        if self._stray is not None:
            cause += f": {describe_exception(self._stray)}"
        gil, processor = runtime.gil_enabled(), self._worker.processor.processor_id
        for batch in self._due.values():
            yield self._worker.sign(batch, failed_result(processor, batch, cause), gil)

    def _next_news(self) -> News:
        """Wait for a worker's results or its end, or an error."""
        while True:
            with suppress(Empty):
                return self._news.get(timeout=SILENCE_S)
            if gone := self._gone():
                return gone

    def _gone(self) -> tuple[int, None] | None:
        """Return the news of a worker whose thread has ended, so that it can send none itself."""
        ended = [share for share in self._working if not self.lives(share)]
        # In this order, because a thread may send its last news before it ends.
        return (ended[0], None) if ended and self._news.empty() else None

    def _pull(self, share: int, wanted: int) -> bool:
        """Put the next batches into the worker's chunk; returns false when there are no more."""
        self._rooms[share].acquire()
        with self._feed_lock:
            own = self._chunks[share]
            own.extend(self._read(wanted))
            if not own and not self._left:
                for other in self._chunks:
                    with suppress(IndexError):  # its owner pulled it first
                        own.append(other.pop())
                        break
            return bool(own)

    def _read(self, wanted: int) -> list[Batch]:
        """Read up to `wanted` batches from the feed, whose lock is held; fewer if it is slow."""
        batches: list[Batch] = []
        begun = perf_counter()
        while not self._closed and len(batches) < wanted:
            try:
                batch = next(self._feed, None)
            except BaseException as error:  # raised again by the caller's thread
                self._news.put(error)
                batch = None
            if batch is None:
                self._closed = True
            else:
                self._due[batch.index, batch.number if isinstance(batch, Part) else None] = batch
                batches.append(batch)
                if perf_counter() - begun > CHUNK_S:
                    break
        return batches

    def _close(self) -> None:
        """Close the feed, so that no worker pulls another batch, and wake waiting workers."""
        self._left = True
        with self._feed_lock:
            self._closed = True
        for room in self._rooms:
            room.release()


class _Crew:
    """The threads of one `open`; calling it runs batches on them."""

    def __init__(
        self,
        pass_over: Callable[[Iterable[Batch], int], Pass],
        opening: Opening,
        cpus: tuple[int, ...],
    ) -> None:
        self._cpus = cpus
        self.stats: tuple[WorkerStats, ...] = ()
        self.resizes: tuple[Resize, ...] = ()
        self._pass_over = pass_over
        self._opening = opening
        numbers = range(opening.workers)
        self._inboxes: list[SimpleQueue[Pass | None]] = [SimpleQueue() for _ in numbers]
        self._idle = [False] * opening.workers
        """Whether a worker waits for a run. Each worker writes only its own element."""
        self._ready = threading.Barrier(opening.workers + 1)
        self._trouble: BaseException | None = None
        """What the latest thread raised that could not start."""
        self._threads = [
            threading.Thread(
                target=own_context().run,
                args=(self._serve, n),
                name=f"todobatch-{n + 1}",
                daemon=True,
            )
            for n in numbers
        ]

    def start(self) -> None:
        """Start all threads and wait until they are ready. Raises RuntimeError if one is not."""
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
        """End all threads and wait for them."""
        for inbox in self._inboxes:
            inbox.put(None)
        for thread, inbox in zip(self._threads, self._inboxes, strict=True):
            thread.join(SILENCE_S)
            while thread.is_alive():  # an exception may have taken the place of the None
                inbox.put(None)
                thread.join(SILENCE_S)

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        one_pass = self._pass_over(batches, len(self._threads))
        given = [1] * len(self._threads)

        def lives(share: int) -> bool:
            if self._idle[share] and self._inboxes[share].empty():
                if given[share] == MOST_GIVEN:
                    return False
                # An exception took its place, or the worker is just taking it: it may come twice.
                self._inboxes[share].put(one_pass)
                given[share] += 1
            return self._threads[share].is_alive()

        one_pass.lives = lives
        for inbox in self._inboxes:
            inbox.put(one_pass)
        yield from one_pass.results_as_they_come()
        self.stats, self.resizes = one_pass.stats(), one_pass.resizes()

    def _serve(self, number: int) -> None:
        try:
            if self._cpus:
                runtime.stay_on(self._cpus[number % len(self._cpus)])
            worker = self._opening.worker(f"thread-{number + 1}", "thread")
        except BaseException as error:  # otherwise the others would wait at the barrier without end
            self._trouble = error
            self._ready.abort()
            return
        try:
            self._ready.wait()
        except threading.BrokenBarrierError:
            return  # another thread could not start
        while True:
            with suppress(BaseException):  # raised here by user code: see `Pass.work`
                self._idle[number] = True
                one_pass = self._inboxes[number].get()
                self._idle[number] = False
                if one_pass is None:
                    return
                one_pass.work(worker, number)


class Threads(Executor):
    """A fixed pool of threads; on a free-threaded interpreter they use all CPUs."""

    name = "threads"
    places = True
    no_deadline = "a thread that hangs cannot be stopped"
    summary = "a pool of threads in one process, nothing copied"
    pass_over: Callable[[Iterable[Batch], int], Pass] = Pass
    """Makes the object through which the workers share an iterable of batches."""

    @property
    def capabilities(self) -> Capabilities:
        """Return what the executor can do; it is parallel without a GIL, but isolates no crash."""
        return Capabilities(cpu_parallel=not runtime.gil_enabled())

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the threads, and end them after the block."""
        crew = _Crew(self.pass_over, opening, self.cpus_to_use())
        try:
            crew.start()
        except RuntimeError as error:  # the system's limit on threads
            raise ExecutorUnavailableError(
                f"{opening.workers} threads cannot be started: {error}",
                place=f"executor {self.name}",
                remedy="use fewer workers, or raise the limits on memory and processes "
                "(ulimit -v, ulimit -u)",
            ) from error
        try:
            yield crew
        finally:
            crew.end()
