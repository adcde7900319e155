"""What the workers of a run did, beyond its results: time busy and idle, steals, pool sizes."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, fields

from todobatch.executors.base import MOST_WORKERS_NAMED, BatchRunner
from todobatch.model import Batch, ProcessingResult
from todobatch.units import Ratio, Seconds


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What one worker did in the latest run of an open executor.

    `busy_s`, `idle_s` and `parked_s` add up to the run's wall time. For a worker that died or that
    replaced another one, they add up to the part of the run in which it lived.
    """

    worker: str
    """The worker's name, as in `WorkerSeen.worker`."""
    busy_s: Seconds
    """Time spent with batches, including runs of a batch that were repeated. With a GIL this
    includes waiting for other threads, and in `coroutines` whatever a batch awaits. Where batches
    are copied, it includes unpickling them and pickling results."""
    idle_s: Seconds
    """Time spent without a batch."""
    steals: int = 0
    """The number of times that it took batches from another worker."""
    stolen: int = 0
    """The number of batches that it took from other workers."""
    parked_s: Seconds = 0.0
    """Time for which an elastic pool was smaller and did without this worker; not in `idle_s`."""
    parkings: int = 0
    """The number of times that an elastic pool parked it."""

    @property
    def efficiency(self) -> Ratio:
        """Busy time ÷ wall time, from 0 to 1; 0 for a worker without any wall time."""
        wall = self.busy_s + self.idle_s + self.parked_s
        return self.busy_s / wall if wall else 0.0

    def plus(self, other: "WorkerStats") -> "WorkerStats":
        """Add the figures of another record, under this one's name."""
        counts = (each.name for each in fields(self) if each.name != "worker")
        return WorkerStats(
            self.worker, *(getattr(self, name) + getattr(other, name) for name in counts)
        )


def add_stats(into: dict[str, WorkerStats], each: WorkerStats) -> None:
    """Add a record to those of the same worker, or to "others" beyond `MOST_WORKERS_NAMED`."""
    name = each.worker
    if name not in into and len(into) >= MOST_WORKERS_NAMED:
        name = "others"
    old = into.get(name, WorkerStats(name, 0.0, 0.0))
    into[name] = old.plus(each)


@dataclass(frozen=True, slots=True)
class Resize:
    """The moment from which an elastic pool let `size` workers work; the first is the start."""

    at_s: Seconds
    """Seconds since the run began."""
    size: int
    """The number of workers that may work from then on."""
    rate: float | None
    """Tasks a second in the window before. None at the start, and where no batch came back."""


def stats_of(run: BatchRunner) -> tuple[WorkerStats, ...]:
    """One record a worker for the latest finished call of `run`; empty before the first.

    All executors of todobatch keep these. `Wrapped` knows only workers that gave a result.
    """
    stats: tuple[WorkerStats, ...] = getattr(run, "stats", ())
    return stats


def resizes_of(run: BatchRunner) -> tuple[Resize, ...]:
    """The sizes that an elastic pool had in the latest finished call; empty for other pools."""
    resizes: tuple[Resize, ...] = getattr(run, "resizes", ())
    return resizes


class CountedRunner:
    """A `BatchRunner` made from a generator function that returns the statistics of its workers."""

    def __init__(
        self,
        run: Callable[
            [Iterable[Batch]], Generator[ProcessingResult, None, tuple[WorkerStats, ...]]
        ],
    ) -> None:
        self._run = run
        self.stats: tuple[WorkerStats, ...] = ()

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run the batches; see `Executor.open`."""
        self.stats = yield from self._run(batches)
