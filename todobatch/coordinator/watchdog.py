"""Ends a run that makes no progress, with an error that names the batches in flight."""

from time import perf_counter

from todobatch.coordinator.options import Recovery
from todobatch.coordinator.recovery import Feed
from todobatch.errors import NoProgressError
from todobatch.executors import Executor
from todobatch.units import Seconds

NAMED_IN_FLIGHT = 8
"""An error names at most this many batches in flight."""


PAUSED_S: Seconds = 1.0
"""Checks that lie further apart than this show that this process was stopped in between."""


class Watchdog:
    """Detects that no batch has come back for `limit_s` seconds, which this process has run.

    One thread calls `is_stuck`, several times a second while no result comes.
    """

    def __init__(self, limit_s: Seconds) -> None:
        self.limit_s = limit_s
        self._checked_at = perf_counter()
        self._since = 0.0
        """When the present time without progress began."""
        self._paused_s: Seconds = 0.0
        """For how long this process did not run since then."""

    def is_stuck(self, feed: Feed) -> bool:
        """Return whether batches are in flight and none has come back for the limit."""
        now = perf_counter()
        pause, self._checked_at = now - self._checked_at, now
        flights = feed.in_flight()
        if not flights:
            return False
        since = max(feed.progress_at, flights[0][1])
        if since != self._since:
            self._since, self._paused_s = since, 0.0
        if pause > PAUSED_S:
            self._paused_s += min(pause, now - since)
        return now - since - self._paused_s >= self.limit_s


def list_in_flight(feed: Feed) -> str:
    """Name the batches in flight and their times, the longest first; any thread may call it."""
    flights = feed.in_flight()
    now = perf_counter()
    named = "; ".join(
        f"batch {batch.index} (tasks {batch.first} to {batch.first + len(batch) - 1}) "
        f"for {now - since:.1f} s"
        for batch, since in flights[:NAMED_IN_FLIGHT]
    )
    more = len(flights) - NAMED_IN_FLIGHT
    return f"{named}; and {more} more" if more > 0 else named


def no_progress(executor: Executor, cause: str, recovery: Recovery) -> NoProgressError:
    """Return the error for a run without progress, with a remedy that fits executor and options."""
    stops = "stops a batch that hangs, and isolates the task that hangs"
    if not executor.capabilities.enforces_deadlines:
        remedy = (
            f'{executor.name} cannot stop a batch that hangs: choose `executor="processes"` and '
            "pass `deadline_s`, which stops it and isolates the task that hangs"
        )
    elif recovery.deadline_s is None:
        remedy = f"pass `deadline_s`: it {stops}"
    else:
        remedy = (
            f"pass a `watchdog_s` well above `deadline_s` ({recovery.deadline_s:g} s): the "
            "deadline stops a hanging batch and isolates the task"
        )
    return NoProgressError(cause, place=f"executor {executor.name}", remedy=remedy)
