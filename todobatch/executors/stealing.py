"""`stealing`: threads with a stock of batches each; an idle one steals from the fullest stock.

    feed ──► stock of worker 1 (deque) ──► worker 1 ─┐
                  │ steals                           ├─► results (queue) ──► caller
         ──► stock of worker n (deque) ──► worker n ─┘

Workers read the feed less often than those of `threads`, and stay balanced when some batches take
far longer than others. Source: Blumofe and Leiserson, "Scheduling multithreaded computations by
work stealing", 1999. A worker takes batches from the left end of its stock. A thief takes half of
the batches in a stock from its right end.

`Pass._feed_lock` guards the feed and the filling of stocks. Taking a batch needs no lock, because a
deque's `popleft` and `pop` are atomic with and without a GIL. A worker is finished when the feed is
closed and every stock is empty: a stolen batch is already with the thief that runs it.

`stats_of(run)` says what each worker stole and how long it was idle.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter

from todobatch.executors.stats import WorkerStats
from todobatch.executors.threads import CHUNK_S, MOST_IN_CHUNK, Pass, Threads
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Seconds

STOCK_S: Seconds = 0.002
"""A worker fills its stock of batches with about this many seconds of work."""
LEAST_STOCK = 4
"""A worker fills its stock with at least this many batches."""
MOST_STOCK = 64
"""A worker fills its stock with at most this many batches."""


class _Stealing(Pass):
    """A run over an iterable of batches that all workers share."""

    def __init__(self, batches: Iterable[Batch], workers: int) -> None:
        super().__init__(batches, workers)
        self._stocks: list[deque[Batch]] = [deque() for _ in range(workers)]
        # Each worker writes only its own element of these.
        self._wanted = [LEAST_STOCK] * workers
        self._steals = [0] * workers
        self._stolen = [0] * workers

    def _process(self, worker: Worker, share: int) -> None:
        while results := self._chunk(worker, share):
            self._news.put((share, results))

    def stats(self) -> tuple[WorkerStats, ...]:
        return tuple(
            replace(each, steals=steals, stolen=stolen)
            for each, steals, stolen in zip(
                super().stats(), self._steals, self._stolen, strict=True
            )
        )

    def _chunk(self, worker: Worker, share: int) -> list[ProcessingResult]:
        """Process some batches and return their results; empty when no batch is left."""
        self._rooms[share].acquire()
        results: list[ProcessingResult] = []
        busy: Seconds = 0.0
        while busy < CHUNK_S and len(results) < MOST_IN_CHUNK:
            batch = self._next_batch(share)
            if batch is None:
                break
            begun = perf_counter()
            results.append(worker.work(batch))
            busy += perf_counter() - begun
        if results:
            self._busy[share] += busy
            each = max(busy / len(results), 1e-6)
            self._wanted[share] = min(max(int(STOCK_S / each), LEAST_STOCK), MOST_STOCK)
        return results

    def _next_batch(self, share: int) -> Batch | None:
        """Return the batch to run next, or None when all are in flight or done."""
        stock, blocking = self._stocks[share], False
        while not self._left and (stock or not self._closed or any(self._stocks)):
            # While another worker reads the feed, steal first rather than wait.
            if not stock and not self._fill(share, blocking=blocking):
                if (batch := self._steal(share)) is not None:
                    return batch
                blocking = True
            try:
                return stock.popleft()
            except IndexError:  # there was nothing to steal, or a thief took the batch first
                pass
        return None

    def _fill(self, share: int, *, blocking: bool) -> bool:
        """Fill a stock from the feed; returns whether batches were added."""
        if self._closed or not self._feed_lock.acquire(blocking=blocking):
            return False
        try:
            batches = self._read(self._wanted[share])
            self._stocks[share].extend(batches)
        finally:
            self._feed_lock.release()
        return bool(batches)

    def _steal(self, share: int) -> Batch | None:
        """Steal half of the fullest stock and return its first batch; None if all are empty."""
        fullest = max(self._stocks, key=len)
        loot: list[Batch] = []
        for _ in range((len(fullest) + 1) // 2):
            try:
                loot.append(fullest.pop())
            except IndexError:
                break
        if not loot:
            return None
        self._steals[share] += 1
        self._stolen[share] += len(loot)
        first = loot.pop()
        self._stocks[share].extend(reversed(loot))
        return first


class Stealing(Threads):
    """A fixed pool of threads that balance batches of unequal length among themselves."""

    name = "stealing"
    summary = "threads with a stock of batches each, which steal from each other"
    pass_over = _Stealing
