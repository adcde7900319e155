"""Collectors: three ways for many threads to collect results without losing one.

* `ThreadSafeResultCollector`: one list and one lock, at which threads wait for each other.
* `QueueResultCollector`: a `queue.Queue`, for readers that read while threads add results.
* `PerWorkerResultCollector`: a list for each thread; the lists are joined when read.

A `ProcessingResult` is immutable, so threads may share it without a lock.
``benchmarks/shared_state.py`` measures the three under contention.
"""

import queue
import threading
from itertools import chain
from typing import Protocol

from todobatch.model import ProcessingResult


class ResultCollector(Protocol):
    """The interface of all collectors; any thread may call it."""

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""

    def get_all_results(self) -> list[ProcessingResult]:
        """Return a copy of all results; changing it does not change the collector.

        It contains, once, every result whose `add_result` had returned before the call.
        """

    def get_count(self) -> int:
        """Return the number of results so far."""


class ThreadSafeResultCollector:
    """Collects results in one list that any number of threads may add to.

    `_lock` guards `_results`, on builds with a GIL and without.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._results: list[ProcessingResult] = []

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""
        with self._lock:
            self._results.append(result)

    def get_all_results(self) -> list[ProcessingResult]:
        """Return a copy of all results; changing it does not change the collector."""
        with self._lock:
            return list(self._results)

    def get_count(self) -> int:
        """Return the number of results so far."""
        with self._lock:
            return len(self._results)


class QueueResultCollector:
    """Collects results in a `queue.Queue`; reading moves them into a list.

    The queue has its own lock. `_lock` guards `_results` and lets one thread at a time empty the
    queue. So a reader that holds it finds each result in one of the two.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[ProcessingResult] = queue.Queue()
        self._lock = threading.Lock()
        self._results: list[ProcessingResult] = []

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""
        self._queue.put(result)

    def get_all_results(self) -> list[ProcessingResult]:
        """Return a copy of all results, in the order in which they were added."""
        with self._lock:
            self._empty()
            return list(self._results)

    def get_count(self) -> int:
        """Return the number of results so far."""
        with self._lock:
            self._empty()
            return len(self._results)

    def _empty(self) -> None:
        # Move only the results that are present now, because threads may add more without end.
        for _ in range(self._queue.qsize()):
            self._results.append(self._queue.get_nowait())


class PerWorkerResultCollector:
    """Gives each thread a list of its own, and joins the lists when they are read.

    `_lock` guards `_lists`; a thread acquires it once, when it makes its list. Only that thread
    appends to its list. Readers may copy the lists at any time, which is safe in CPython with and
    without a GIL. A copy has the results of each thread together, in the order of adding.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: list[list[ProcessingResult]] = []
        self._local = threading.local()

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""
        self.container().append(result)

    def container(self) -> list[ProcessingResult]:
        """Return the calling thread's own list, for hot loops that append to it directly.

        Without a GIL, `add_result` on several CPUs contends for this collector's reference count,
        which costs more than the lock it saves. A thread that keeps its list avoids that.
        """
        try:
            own: list[ProcessingResult] = self._local.results
        except AttributeError:  # the first call of this thread
            own = self._local.results = []
            with self._lock:
                self._lists.append(own)
        return own

    def get_all_results(self) -> list[ProcessingResult]:
        """Return a copy of all results, those of one thread after those of another."""
        return list(chain.from_iterable(self._copy()))

    def get_count(self) -> int:
        """Return the number of results so far."""
        return sum(map(len, self._copy()))

    def _copy(self) -> list[list[ProcessingResult]]:
        with self._lock:
            return list(self._lists)
