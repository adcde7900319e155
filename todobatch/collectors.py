"""Where results of several workers meet: the shared-state pattern of the source document."""

import threading

from todobatch.model import ProcessingResult


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
