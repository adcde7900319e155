"""Where results of several workers meet: the shared-state patterns of the source document.

Three ways to let any number of threads hand in results without losing one, behind one interface:

* `ThreadSafeResultCollector`: one list and one lock. The plain way; everybody waits at the lock.
* `QueueResultCollector`: a `queue.Queue`, for where somebody takes results out meanwhile.
* `PerWorkerResultCollector`: a list a thread, joined when asked; nothing is shared till then.

The fourth pattern is in all of them: a `ProcessingResult` is immutable, so it may be handed out
while others still read it, and no lock guards what is in it. ``benchmarks/shared_state.py``
measures the three under contention.
"""

import queue
import threading
from typing import Protocol

from todobatch.model import ProcessingResult


class ResultCollector(Protocol):
    """What all of them do, from any thread."""

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""

    def get_all_results(self) -> list[ProcessingResult]:
        """A copy of what has been added: changing it does not change the collector.

        Every result whose `add_result` had returned before the call is in it, once.
        """

    def get_count(self) -> int:
        """How many results there are now."""


class ThreadSafeResultCollector:
    """A list of results that any number of threads may add to.

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
        """A copy: changing it does not change the collector."""
        with self._lock:
            return list(self._results)

    def get_count(self) -> int:
        """How many results there are now."""
        with self._lock:
            return len(self._results)


class QueueResultCollector:
    """A `queue.Queue` that threads put results into, emptied when somebody asks.

    The queue has its own lock. `_lock` guards `_taken` and lets one thread at a time empty the
    queue, so that a result is in one of the two whenever a reader holds it.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[ProcessingResult] = queue.Queue()
        self._lock = threading.Lock()
        self._taken: list[ProcessingResult] = []

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""
        self._queue.put(result)

    def get_all_results(self) -> list[ProcessingResult]:
        """A copy, in the order in which they were put."""
        with self._lock:
            self._empty()
            return list(self._taken)

    def get_count(self) -> int:
        """How many results there are now."""
        with self._lock:
            self._empty()
            return len(self._taken)

    def _empty(self) -> None:
        # As many as there are at the start: those that come in meanwhile could keep it here.
        for _ in range(self._queue.qsize()):
            self._taken.append(self._queue.get_nowait())


class PerWorkerResultCollector:
    """A list for each thread, joined when somebody asks.

    `_lock` guards `_lists`, and is taken once a thread, when its own list is made. A list is added
    to by its own thread only. A reader copies it meanwhile, which CPython makes safe on builds with
    a GIL and without: it gets what was there at one moment. In the copy each thread's results are
    in order; those of different threads are not mixed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: list[list[ProcessingResult]] = []
        self._mine = threading.local()

    def add_result(self, result: ProcessingResult) -> None:
        """Add one result."""
        self.container().append(result)

    def container(self) -> list[ProcessingResult]:
        """The calling thread's own list, to append to without coming by here each time.

        `add_result` from several CPUs at once meets on the reference counts of this collector where
        there is no GIL: in a hot loop that costs more than the lock it saves. A list that the
        thread holds itself is met by nobody.
        """
        try:
            mine: list[ProcessingResult] = self._mine.results
        except AttributeError:  # this thread's first
            mine = self._mine.results = []
            with self._lock:
                self._lists.append(mine)
        return mine

    def get_all_results(self) -> list[ProcessingResult]:
        """A copy, one thread's results after the other's."""
        with self._lock:
            lists = list(self._lists)
        results: list[ProcessingResult] = []
        for each in lists:
            results.extend(each)
        return results

    def get_count(self) -> int:
        """How many results there are now."""
        with self._lock:
            lists = list(self._lists)
        return sum(len(each) for each in lists)
