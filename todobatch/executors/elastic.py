"""`elastic`: a pool of threads that finds out, while it runs, how many of them are worth using.

    feed ──► worker 1 … worker size ──► results (queue) ──► caller ──► Sizer
             worker size + 1 … n wait at the gate ◄──────────── size ────┘

The caller's thread counts the tasks that come back. After each window of time it gives the rate to
a `Sizer`, which returns how many workers may work in the next window. A worker beyond that number
parks at the gate before it pulls again. No thread is started or ended meanwhile.

`_Elastic._gate` guards `_size`. Workers first read `_size` without the lock. They may see an old
value, and then run one chunk more or look once again.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from queue import Empty
from time import perf_counter, process_time

from todobatch.errors import UsageError
from todobatch.executors.base import MOST_RESIZES_KEPT
from todobatch.executors.stats import Resize, WorkerStats
from todobatch.executors.threads import Pass, Threads
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Ratio, Seconds

WINDOW_S: Seconds = 0.05
"""A window lasts at least this long."""
BATCHES_A_WORKER = 2
"""A window has at least this many batches for each worker: fewer say little about a rate."""
WORTH: Ratio = 0.3
"""A larger size is kept if it yields at least this share of the ideal extra throughput."""
STALL_S: Seconds = 0.5
"""The pool grows when no batch came back for this long and the CPUs were nearly idle: batches may
wait for each other, or for something slow."""
WAITING: Ratio = 0.2
"""The CPUs are nearly idle if the process used less than this many of them."""
LEAST_HOLD, MOST_HOLD = 4, 64
"""After a trial that did not pay, at least and at most this many windows pass before the next. The
number is doubled each time."""


class Sizer:
    """Decides how many workers may work, from the rates that earlier sizes reached.

    It tries 50 % more workers and keeps them if they yield at least `WORTH` (30 %) of the ideal
    extra throughput. Otherwise it goes back, waits some windows, and tries 25 % fewer, which it
    keeps if they lose less than that share. The window after a change is ignored, because batches
    of the earlier size are still in flight. `least` and `most` bound the size.

    Source: hill climbing on throughput, as in Hellerstein, Morrison and Eilebrecht, "Optimizing
    concurrency levels in the .NET ThreadPool", 2008.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.size = least
        self._settling = True
        self._from: tuple[int, float] | None = None
        """The size and rate before the present trial; None without a trial."""
        self._upward = True
        self._hold = self._wait = 0

    def window(self, rate: float) -> int:
        """Return the size for the next window, after one with this rate in tasks a second."""
        if self._settling:
            self._settling = False
        elif self._from is None and self._wait:
            self._wait -= 1
        elif self._from is None:
            self._try(rate)
        else:
            self._end_trial(*self._from, rate)
        return self.size

    def stalled(self) -> int:
        """Return a larger size, because no batch came back for `STALL_S`."""
        self._from = None
        self.size = min(self.size + max(1, self.size // 2), self._most)
        self._settling = True
        return self.size

    def _try(self, rate: float) -> None:
        step = max(1, self.size // 2) if self._upward else -max(1, self.size // 4)
        size = min(max(self.size + step, self._least), self._most)
        if size == self.size:
            self._upward = not self._upward
            return
        self._from = self.size, rate
        self.size, self._settling = size, True

    def _end_trial(self, size: int, before: float, rate: float) -> None:
        self._from = None
        workers = self.size / size - 1
        gain = (rate / before - 1) / workers if before > 0 else 1.0  # ÷ the ideal
        if gain >= WORTH if self.size > size else gain < WORTH:
            self._hold = 0
            return
        self.size, self._settling = size, True
        self._upward = not self._upward
        self._hold = self._wait = min(max(2 * self._hold, LEAST_HOLD), MOST_HOLD)


class _Elastic(Pass):
    """One pass over an iterable of batches, by a number of workers that a `Sizer` decides."""

    def __init__(self, batches: Iterable[Batch], workers: int, least: int) -> None:
        super().__init__(batches, workers)
        self._gate = threading.Condition()
        self._sizer = Sizer(least, workers)
        self._size = self._sizer.size
        self._beginning = Resize(0.0, self._size, None)
        # Only the caller's thread uses this.
        self._resizes: deque[Resize] = deque(maxlen=MOST_RESIZES_KEPT - 1)
        # Each worker writes only its own element of these.
        self._parked_s = [0.0] * workers
        self._parkings = [0] * workers

    def work(self, worker: Worker, share: int) -> None:
        """See `Pass.work`; at the end it wakes parked workers, because the feed is closed."""
        super().work(worker, share)
        with self._gate:
            self._gate.notify_all()

    def stats(self) -> tuple[WorkerStats, ...]:
        """See `Pass.stats`; time parked is not idle time."""
        return tuple(
            replace(each, idle_s=max(each.idle_s - parked, 0.0), parked_s=parked, parkings=parkings)
            for each, parked, parkings in zip(
                super().stats(), self._parked_s, self._parkings, strict=True
            )
        )

    def resizes(self) -> tuple[Resize, ...]:
        """The first size and the latest ones, at most `MOST_RESIZES_KEPT`."""
        return (self._beginning, *self._resizes)

    def results_as_they_come(self) -> Iterator[ProcessingResult]:
        """See `Pass.results_as_they_come`; it also resizes the pool after each window."""
        tasks = batches = 0
        begun = perf_counter()
        for result in super().results_as_they_come():
            tasks += result.tasks
            batches += 1
            if batches >= BATCHES_A_WORKER * self._size:
                took = perf_counter() - begun
                if took >= WINDOW_S:
                    rate = tasks / took
                    self._resize(self._sizer.window(rate), rate)
                    tasks = batches = 0
                    begun = perf_counter()
            yield result

    def _next_news(self) -> tuple[int, list[ProcessingResult]] | BaseException | None:
        while True:
            used = process_time()
            try:
                return self._news.get(timeout=STALL_S)
            except Empty:
                if process_time() - used < WAITING * STALL_S:  # otherwise batches are long
                    self._resize(self._sizer.stalled(), None)

    def _resize(self, size: int, rate: float | None) -> None:
        if size != self._size:
            self._resizes.append(Resize(perf_counter() - self._begun, size, rate))
            with self._gate:
                self._size = size
                self._gate.notify_all()

    def _pull(self, share: int, wanted: int) -> bool:
        if share >= self._size:
            self._park(share)
        return super()._pull(share, wanted)

    def _park(self, share: int) -> None:
        begun = perf_counter()
        self._parkings[share] += 1
        with self._gate:
            while share >= self._size and not self._closed:
                self._gate.wait()
        self._parked_s[share] += perf_counter() - begun

    def _close(self) -> None:
        super()._close()
        with self._gate:
            self._gate.notify_all()


class Elastic(Threads):
    """A pool of threads that uses between `least` workers and the number it is opened with.

    ``run_batches(…, executor=Elastic(2), workers=8)`` uses 2 to 8 workers.
    """

    name = "elastic"
    summary = "threads, as many as pay off"

    def __init__(self, least: int = 1) -> None:
        self.least = least
        self.pass_over = partial(_Elastic, least=least)

    def check(self, workers: int, deadline_s: Seconds | None = None) -> None:
        """See `Executor.check`; raises UsageError as well if `least` is not from 1 to `workers`."""
        super().check(workers, deadline_s)
        if not 1 <= self.least <= workers:
            raise UsageError(
                f"from {self.least} to {workers} workers is not a range",
                place="`workers`",
                remedy="give MIN-MAX, such as 1-8, with MIN from 1 to MAX",
            )
