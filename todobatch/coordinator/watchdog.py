"""Ends a run that makes no progress, with an error that names the batches in flight."""

from time import perf_counter

from todobatch.coordinator.recovery import Feed
from todobatch.errors import NoProgressError
from todobatch.executors import Executor
from todobatch.units import Seconds

NAMED_IN_FLIGHT = 8
"""An error names at most this many batches in flight."""


def is_stuck(feed: Feed, limit_s: Seconds) -> bool:
    """Return whether batches are in flight and none has come back for `limit_s` seconds."""
    flights = feed.in_flight()
    return bool(flights) and perf_counter() - max(feed.progress_at, flights[0][1]) >= limit_s


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


def no_progress(executor: Executor, cause: str) -> NoProgressError:
    """Return the error for a run without progress, with a remedy that fits the executor."""
    remedy = (
        "pass `deadline_s`: it stops a batch that hangs, and isolates the task that hangs"
        if executor.capabilities.enforces_deadlines
        else f'{executor.name} cannot stop a batch that hangs: choose `executor="processes"` and '
        "pass `deadline_s`, which stops it and isolates the task that hangs"
    )
    return NoProgressError(cause, place=f"executor {executor.name}", remedy=remedy)
