"""`stealing`: threads with a stock of batches each; who has none left takes from the fullest stock.

    feed ──► stock of worker 1 (deque) ──► worker 1 ─┐
                  │ steals                           ├─► results (queue) ──► caller
         ──► stock of worker n (deque) ──► worker n ─┘

The workers touch the feed less often than those of `threads`, and stay balanced all the same when
some batches take far longer than others (Blumofe and Leiserson, "Scheduling multithreaded
computations by work stealing", 1999). A worker takes from its stock's left end; thieves take half
of what is there from its right end. Stocks need no lock of ours: each `popleft` and `pop` of a
deque is whole, with or without a GIL, and who finds nothing looks elsewhere. Stocks are filled
under `_feed_lock`, so that who finds the feed closed and every stock empty is through: what is
stolen at that moment is with a thief, who runs it.

What each worker stole, and how long it idled, is in `stats_of(run)`.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from time import perf_counter

from todobatch.executors.base import Worker, WorkerStats
from todobatch.executors.threads import CHUNK_S, MOST_IN_CHUNK, Pass, Threads
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Seconds

STOCK_S: Seconds = 0.002
"""Work in a stock that has just been filled, ..."""
LEAST_STOCK = 4
MOST_STOCK = 64
"""... but at least and at most so many batches."""


class _Stealing(Pass):
    """One pass over an iterable of batches, shared by all workers."""

    def __init__(self, batches: Iterable[Batch], workers: int) -> None:
        super().__init__(batches, workers)
        self._stocks: list[deque[Batch]] = [deque() for _ in range(workers)]
        # Each worker writes its own place only.
        self._wanted = [LEAST_STOCK] * workers
        self._steals = [0] * workers
        self._stolen = [0] * workers

    def work(self, worker: Worker, share: int) -> None:
        """A worker's share: from its stock, the feed or another's stock, until all are empty."""
        self._names[share] = worker.label
        try:
            while results := self._chunk(worker, share):
                self._news.put((share, results))
        except BaseException as error:  # a fault of ours: the caller must see it, not a lost batch
            self._news.put(error)
        finally:
            self._news.put(None)

    def stats(self) -> tuple[WorkerStats, ...]:
        """What each worker did, when all are through."""
        return tuple(
            replace(each, steals=steals, stolen=stolen)
            for each, steals, stolen in zip(
                super().stats(), self._steals, self._stolen, strict=True
            )
        )

    def _chunk(self, worker: Worker, share: int) -> list[ProcessingResult]:
        """Results that are handed in together."""
        self._rooms[share].acquire()
        results: list[ProcessingResult] = []
        busy: Seconds = 0.0
        while busy < CHUNK_S and len(results) < MOST_IN_CHUNK:
            batch = self._take(share)
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

    def _take(self, share: int) -> Batch | None:
        """A batch to run now, or none when all is under way or done."""
        if self._left:
            return None
        stock = self._stocks[share]
        if not stock and not self._fill(share, blocking=False):
            # The feed is closed, or somebody is reading it: better steal than wait.
            batch = self._steal(share)
            if batch is not None:
                return batch
            self._fill(share, blocking=True)
        try:
            return stock.popleft()
        except IndexError:  # the feed is closed, or a thief was quicker
            return self._last(share)

    def _last(self, share: int) -> Batch | None:
        """Nothing was found once: look until the feed is closed and all stocks are empty."""
        while not self._left and (not self._closed or any(self._stocks)):
            self._fill(share, blocking=True)
            try:
                return self._stocks[share].popleft()
            except IndexError:
                batch = self._steal(share)
            if batch is not None:
                return batch
        return None

    def _fill(self, share: int, *, blocking: bool) -> bool:
        """Fill a stock from the feed; whether anything was put in."""
        if self._closed or not self._feed_lock.acquire(blocking=blocking):
            return False
        try:
            batches = self._read(self._wanted[share])
            self._stocks[share].extend(batches)
        finally:
            self._feed_lock.release()
        return bool(batches)

    def _steal(self, share: int) -> Batch | None:
        """Half of the fullest stock, the first of it to be run now; none where all are empty."""
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
    """A fixed pool of threads that balance skewed loads among themselves."""

    name = "stealing"
    summary = "threads with a stock of batches each, who steal from each other"
    pass_over = _Stealing
