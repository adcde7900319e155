"""Tells the parent at regular intervals that the job's process runs."""

import threading
from collections.abc import Callable

from todobatch.coordinator.recovery import Feed
from todobatch.units import Seconds

ALIVE_EVERY_S: Seconds = 0.5


class Heartbeat:
    """Calls `beat` at regular intervals in a second thread, from `begin` to `end`."""

    def __init__(self, beat: Callable[[Feed], None]) -> None:
        self._beat = beat
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, feed: Feed) -> None:
        """Call `beat`, and start the thread."""
        self._beat(feed)
        self._thread = threading.Thread(
            target=self._run, args=(feed,), name="todobatch-heartbeat", daemon=True
        )
        self._thread.start()

    def end(self) -> bool:
        """Stop the thread and wait for it; returns whether it had begun."""
        self._ended.set()
        if self._thread is None:
            return False
        self._thread.join()
        return True

    def _run(self, feed: Feed) -> None:
        while not self._ended.wait(ALIVE_EVERY_S):
            self._beat(feed)
