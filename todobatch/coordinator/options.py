"""What a caller of `run_batches` can choose, and every default, in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from todobatch.errors import UsageError
from todobatch.model import Batch, ProcessingResult
from todobatch.units import MOST_SECONDS, Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.recovery import Feed

DEFAULT_EXECUTOR = "threads"
DEFAULT_WORKERS = 2
DEFAULT_BATCH_SIZE = 100
"""Tasks in a batch when no `batch_size` is given."""

Order = Literal["input", "priority", "longest"]
"""Which batches are sent first: those first in the input, the most urgent, or the longest."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What to do about batches that fail, hang or lose their worker.

    Raises UsageError for a number that is out of range.
    """

    retries: int = 2
    """A broken batch is run again up to this many times; then it is split to isolate the failing
    tasks. A batch is broken when its worker dies, its deadline passes or it fails as a whole. If
    the executor knows which task broke it, that task alone is run again."""
    backoff_s: Seconds = 0.05
    """The pause before the first retry. Each further pause is twice as long, up to
    `LONGEST_BACKOFF_S`. Other batches run meanwhile."""
    retry_failed: bool = False
    """Whether to retry a batch when only some of its tasks raise; the last result counts."""
    deadline_s: Seconds | None = None
    """A batch that runs longer is stopped. Only executors that can kill a worker support it."""
    watchdog_s: Seconds | None = None
    """The run ends with NoProgressError when no batch comes back for this many seconds."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UsageError(
                f"a batch cannot be retried {self.retries} times",
                place="`retries`",
                remedy="give 0 or more",
            )
        if not 0 <= self.backoff_s <= MOST_SECONDS:
            raise UsageError(
                f"the backoff cannot be {self.backoff_s} seconds",
                place="`backoff_s`",
                remedy=f"give 0 to {MOST_SECONDS:,} seconds",
            )
        for name in ("deadline_s", "watchdog_s"):
            limit = getattr(self, name)
            if limit is not None and not 0 < limit <= MOST_SECONDS:
                raise UsageError(
                    f"{limit} seconds cannot be a limit",
                    place=f"`{name}`",
                    remedy=f"give a number above 0 and up to {MOST_SECONDS:,}, or leave it out to "
                    "run without a limit",
                )


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions that a run calls at certain moments.

    The calling thread calls all but `stop` and `on_part`.
    """

    on_result: Callable[[ProcessingResult], None] | None = None
    """Called once with the final result of each batch."""
    on_batch: Callable[[Batch, ProcessingResult], None] | None = None
    """Called with each batch and its final result."""
    on_part: Callable[[int, int], None] | None = None
    """Called after each batch or part with the number of tasks that came back in incomplete
    batches, and how many of these failed. With a journal or a watchdog, it is called in another
    thread."""
    on_feed: Callable[["Feed"], None] | None = None
    """Called with the feed before the start; any thread may call `Feed.in_flight`."""
    on_ready: Callable[[], None] | None = None
    """Called when the workers are ready, before the clock starts."""
    on_done: Callable[[], None] | None = None
    """Called when the clock has stopped, before the workers end."""
    stop: Callable[[], bool] | None = None
    """Called before each batch. When it returns true, no further batch is sent, those in flight
    finish, and the report is marked `interrupted`."""


DEFAULT_RECOVERY = Recovery()
NO_HOOKS = Hooks()
