"""What a caller of `run_batches` can choose, and every default, in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from todobatch.errors import UsageError
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.recovery import Feed

DEFAULT_EXECUTOR = "threads"
DEFAULT_WORKERS = 2
DEFAULT_BATCH_SIZE = 100
"""Tasks in a batch when no `batch_size` is given."""

Order = Literal["input", "priority", "longest"]
"""Which batches go first: those that come first, the most urgent, or the longest by `costs`."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do about batches that fail, hang or lose their worker.

    Raises UsageError for a number that is out of range.
    """

    retries: int = 2
    """How many times a broken batch is run again before it is split to isolate the failing tasks.
    A batch is broken when its worker dies, its deadline passes or it fails as a whole."""
    backoff_s: Seconds = 0.05
    """The pause before the first retry. It doubles with each retry, up to `LONGEST_BACKOFF_S`.
    Other batches run meanwhile."""
    retry_failed: bool = False
    """Whether to retry batches in which single tasks fail by exceptions, too. The last result of
    such a batch counts."""
    deadline_s: Seconds | None = None
    """Stop a batch that runs longer. Only executors that can kill a worker support it."""
    watchdog_s: Seconds | None = None
    """End the run with NoProgressError when no batch comes back for this time."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UsageError(f"{self.retries} retries", place="`retries`", remedy="0 or more")
        if not 0 <= self.backoff_s < inf:
            raise UsageError(
                f"a backoff of {self.backoff_s} seconds",
                place="`backoff_s`",
                remedy="0 seconds or more",
            )
        if self.watchdog_s is not None and not self.watchdog_s > 0:
            raise UsageError(
                f"{self.watchdog_s} seconds without progress",
                place="`watchdog_s`",
                remedy="more than 0 seconds; leave it out to wait without a limit",
            )


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions that a run calls on its way. The calling thread calls all but `stop`."""

    on_result: Callable[[ProcessingResult], None] | None = None
    """Gets the result of each batch once, when nothing more will be done for it."""
    on_batch: Callable[[Batch, ProcessingResult], None] | None = None
    """Gets the same results, each with its batch."""
    on_feed: Callable[["Feed"], None] | None = None
    """Called before anything is started. `Feed.in_flight` lists the batches in flight, for a
    watcher in another thread."""
    on_ready: Callable[[], None] | None = None
    """Called when the workers are ready and the clock has not started."""
    on_done: Callable[[], None] | None = None
    """Called when the clock has stopped and the workers have not ended yet."""
    stop: Callable[[], bool] | None = None
    """Asked before each batch. When it returns true, no further batch is handed out, those in
    flight finish, and the report is marked `interrupted`."""


DEFAULT_RECOVERY = Recovery()
NO_HOOKS = Hooks()
