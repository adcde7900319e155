"""`elastic`: a pool of threads that measures, while it runs, how many of them are worth using.

    feed ──► worker 1 … worker size ──► results (queue) ──► caller ──► Sizer
             worker size + 1 … n wait at the gate ◄──────────── size ────┘

The caller's thread counts the tasks that come back. After each window of time it gives the rate to
a `Sizer`, which returns how many workers may work in the next window. A worker beyond that number
waits at the gate before it pulls again: it is parked. No thread is started or ended meanwhile.

`_Elastic._gate` guards `_size`. Workers first read `_size` without the lock. They may see an old
value, and then run one more chunk or check once more.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import Empty
from time import perf_counter, process_time

from todobatch.errors import UsageError
from todobatch.executors.base import MOST_RESIZES_KEPT
from todobatch.executors.stats import Resize, WorkerStats
from todobatch.executors.threads import News, Pass, Threads
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Ratio, Seconds

WINDOW_S: Seconds = 0.05
"""The pool measures its throughput over windows of at least this many seconds."""
BATCHES_A_WORKER = 2
"""A window has at least this many batches for each worker, because fewer give no reliable rate."""
WORTH: Ratio = 0.3
"""A larger size is kept if it yields at least this share of the ideal extra throughput."""
STALL_S: Seconds = 0.5
"""The pool grows when no batch came back for this many seconds and the CPUs were nearly idle.
Batches may then wait for each other, or for something slow."""
MOST_STALLS = 4
"""After this many stalls in a row the pool grows even if the CPUs are busy. Other threads of the
process may use them, or batches that wait for each other in a loop."""
WAITING: Ratio = 0.2
"""The CPUs are nearly idle if the process used less than this many of them."""
LEAST_HOLD, MOST_HOLD = 4, 64
"""The least and the most windows between a trial that did not pay and the next trial. The number
doubles after each such trial."""


class Sizer:
    """Decides how many workers may work, from the rates that earlier sizes reached.

    It tries 50 % more workers and keeps them if they yield at least `WORTH` (30 %) of the ideal
    extra throughput. Otherwise it returns to the earlier size and waits some windows. Then it tries
    25 % fewer, and keeps them if they lose less than that share. The window after a change is
    ignored, because it has batches that began before the change. `least` and `most` bound the size.

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
        """Return how many workers may work in the next window of time.

        `rate` is the number of tasks a second in the last window.
        """
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
        """Return a larger size; called when no batch came back for `STALL_S` seconds."""
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
        gain = (rate / before - 1) / workers if before > 0 else 1.0  # as a share of the ideal
        if gain >= WORTH if self.size > size else gain < WORTH:
            self._hold = 0
            return
        self.size, self._settling = size, True
        self._upward = not self._upward
        self._hold = self._wait = min(max(2 * self._hold, LEAST_HOLD), MOST_HOLD)


class _Elastic(Pass):
    """A run over an iterable of batches, with a number of workers that a `Sizer` decides."""

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
        super().work(worker, share)
        with self._gate:
            self._gate.notify_all()

    def stats(self) -> tuple[WorkerStats, ...]:
        """Return what each worker did; time parked is not idle time. See `Pass.stats`."""
        return tuple(
            replace(each, idle_s=max(each.idle_s - parked, 0.0), parked_s=parked, parkings=parkings)
            for each, parked, parkings in zip(
                super().stats(), self._parked_s, self._parkings, strict=True
            )
        )

    def resizes(self) -> tuple[Resize, ...]:
        return (self._beginning, *self._resizes)

    def results_as_they_come(self) -> Iterator[ProcessingResult]:
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

    def _next_news(self) -> News:
        stalls = 0
        while True:
            used = process_time()
            with suppress(Empty):
                return self._news.get(timeout=STALL_S)
            if gone := self._gone():
                return gone
            stalls += 1
            if process_time() - used < WAITING * STALL_S or stalls % MOST_STALLS == 0:
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
        """Check the arguments of `open`, and that `least` is from 1 to `workers`."""
        super().check(workers, deadline_s)
        if not 1 <= self.least <= workers:
            raise UsageError(
                f"from {self.least} to {workers} workers is not a range",
                place="`workers`",
                remedy="give MIN-MAX, such as 1-8, with MIN from 1 to MAX",
            )
