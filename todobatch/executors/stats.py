"""Statistics of a run's workers: time busy and idle, steals, and sizes of the pool."""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

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
    """Time that the worker spent on batches, repeated runs included. Pickling counts too, and so
    does waiting for the GIL or, in `coroutines`, for what a batch awaits."""
    idle_s: Seconds
    """Time that the worker spent without a batch."""
    steals: int = 0
    """How many times the worker took batches from another worker."""
    stolen: int = 0
    """How many batches the worker took from other workers."""
    parked_s: Seconds = 0.0
    """Time for which an elastic pool paused this worker; `idle_s` does not include it."""
    parkings: int = 0
    """How many times an elastic pool paused this worker."""

    @property
    def efficiency(self) -> Ratio:
        """Return busy time ÷ wall time, from 0 to 1; 0 for a worker without any wall time."""
        wall = self.busy_s + self.idle_s + self.parked_s
        return self.busy_s / wall if wall else 0.0

    def plus(self, other: "WorkerStats") -> "WorkerStats":
        """Return the sum of this record and another one, under this one's name."""
        counts = (each.name for each in fields(self) if each.name != "worker")
        return WorkerStats(
            self.worker, *(getattr(self, name) + getattr(other, name) for name in counts)
        )


def add_stats(into: dict[str, WorkerStats], each: WorkerStats) -> None:
    """Add a record to that of the same worker, or to "others" beyond `MOST_WORKERS_NAMED`."""
    name = each.worker
    if name not in into and len(into) >= MOST_WORKERS_NAMED:
        name = "others"
    old = into.get(name, WorkerStats(name, 0.0, 0.0))
    into[name] = old.plus(each)


@dataclass(frozen=True, slots=True)
class Resize:
    """A change of an elastic pool's size; the first record is its size at the start."""

    at_s: Seconds
    """The time of the change, in seconds since the run began."""
    size: int
    """The number of workers that may work after the change."""
    rate: float | None
    """Tasks a second before the change. None at the start, and where no batch came back."""


def stats_of(run: BatchRunner) -> tuple[WorkerStats, ...]:
    """Return a record for each worker, for the latest finished call of `run`; empty before that.

    `Wrapped` knows only workers that gave a result.
    """
    stats: tuple[WorkerStats, ...] = getattr(run, "stats", ())
    return stats


def resizes_of(run: BatchRunner) -> tuple[Resize, ...]:
    """Return an elastic pool's sizes in the latest finished call; empty for other pools."""
    resizes: tuple[Resize, ...] = getattr(run, "resizes", ())
    return resizes


CountedResults: TypeAlias = Generator[ProcessingResult, None, tuple[WorkerStats, ...]]
"""A generator of results. At its end it returns the statistics of the workers."""


class CountedRunner:
    """A `BatchRunner` made from a function that returns `CountedResults`."""

    def __init__(self, run: Callable[[Iterable[Batch]], CountedResults]) -> None:
        self._run = run
        self.stats: tuple[WorkerStats, ...] = ()

    def __call__(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run the batches, and yield a result for each; see `Executor.open`."""
        self.stats = yield from self._run(batches)
