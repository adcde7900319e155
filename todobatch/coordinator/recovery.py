"""Feeds batches to an executor, and retries and splits them until each has one result.

    fresh batches ──┐                                        ┌─► settled: one result a batch
    to run again ───┴─► Feed ──► executor ──► Feed.settle ───┤
         ▲                                                   └─► again, later ─┐
         └─────────────────────────────────────────────────────────────────────┘

A batch *breaks* when its worker dies, its deadline passes, or it fails as a whole with no task to
name. If the executor names the task that broke it, that task is retried alone, up to `retries`
times. The tasks before it and after it are run again, as a part each.

Otherwise the batch is retried up to `retries` times. If it still fails, it is split in half and
each half is run again, until the failing tasks are isolated. Each pause before a retry is twice as
long as the one before. A single task that breaks each of its runs is set aside.

Batches of slow tasks are sent in parts from the start, so that all workers are busy to the end. A
part that breaks is treated like a batch.

`parts` makes one result of all parts. Its aggregate and digest are those of a batch in which only
the tasks set aside failed. A batch gives one result, but its tasks may have been *run* more than
once.
"""

import heapq
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import perf_counter, sleep
from typing import TypeAlias

from todobatch.coordinator.options import DEFAULT_RECOVERY, Recovery
from todobatch.coordinator.parts import PartSizes, Pieces, is_broken
from todobatch.coordinator.saved.failed_batches import FailedBatch, ranges_of
from todobatch.errors import MeasurementError
from todobatch.model import Batch, Part, ProcessingResult, TaskFailure
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.units import Seconds

LONGEST_BACKOFF_S: Seconds = 30.0
MOST_WAITING = 1_000
"""At most this many batches wait for a retry. If more do, the first is run at once. This bounds
memory when every batch breaks."""
HOPELESS_AFTER = 3
"""After this many batches in a row without a successful task, broken batches are set aside without
a split, until a batch comes back. This bounds time when every batch breaks."""
POLL_S: Seconds = 0.02

_Key: TypeAlias = int | tuple[int, int]
"""The key of a batch is its index; that of a part is the batch's index and the part's number."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The final result of a batch, with the retries and replaced workers that it took."""

    batch: Batch
    result: ProcessingResult
    parts: tuple[ProcessingResult, ...] = ()
    """The results of the batch's parts, for the totals of the workers."""
    set_aside: tuple[TaskFailure, ...] = ()
    retried: int = 0
    """How many times the batch, or a part of it, was run again."""
    replaced: int = 0
    """How many workers the batch killed."""
    overran: int = 0
    """How many of these overran the deadline."""
    kept: int = 0
    """How many of its tasks have their row from an earlier run."""


@dataclass(slots=True, eq=False)
class _Case:
    """A batch that has no final result yet."""

    batch: Batch
    retried: int = 0
    replaced: int = 0
    overran: int = 0
    pieces: Pieces | None = None
    """Set when the batch is run in parts."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch or part that is in flight or waits for a retry."""

    batch: Batch
    case: _Case
    halved: bool = False
    """Whether this is what is left of a broken batch; it is split again at once when it breaks."""
    runs: int = 0
    since: float = 0.0


class Feed:
    """An iterator over the batches to run; `settle` gets their results and decides about retries.

    The executor iterates it, one thread at a time; the thread that receives results calls the rest.
    `_lock` guards `_waiting` and the numbers of parts. `_in_flight` needs no lock: each change of a
    dictionary and its copy are atomic, with and without the GIL. Fresh batches are read outside the
    lock, because reading may wait. `_begun` belongs to the thread that iterates.
    """

    def __init__(
        self,
        fresh: Iterator[Batch],
        processor: TaskBatchProcessor,
        recovery: Recovery = DEFAULT_RECOVERY,
        *,
        keep_rows: bool = False,
        stop: Callable[[], bool] | None = None,
        sizes: PartSizes | None = None,
        again: Callable[[Batch], FailedBatch | None] | None = None,
    ) -> None:
        self._fresh = fresh
        self._processor = processor
        self._recovery = recovery
        self._keep_rows = keep_rows
        self._stop = stop
        self._sizes = sizes
        """None when batches of slow tasks are not to be split."""
        self._again = again
        """Returns what is known of a batch of which only the failed tasks run again."""
        self._begun: tuple[_Case, list[tuple[int, int]]] | None = None
        """A batch that is sent in parts, and the ranges of its tasks that are left to send."""
        self._lock = threading.Lock()
        self._in_flight: dict[_Key, _Flight] = {}
        self._waiting: list[tuple[float, int, _Flight]] = []
        self._pushes = 0
        self._parts = 0
        self._hopeless = 0
        """Batches in a row in which no task could be saved."""
        self.stopped = False
        self.progress_at = perf_counter()
        """When the latest result came in."""
        self.back = self.back_failed = 0
        """How many tasks of batches without a final result have come back, and how many failed."""

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> Batch:
        if self.stopped or (self._stop is not None and self._stop()):
            self.stopped = True
            if self._begun is None:  # otherwise the batch that has begun is finished
                raise StopIteration
        now = perf_counter()
        flight: _Flight | None = None
        if self._waiting and not self.stopped:
            with self._lock:
                waiting = self._waiting
                if waiting and (waiting[0][0] <= now or len(waiting) > MOST_WAITING):
                    flight = heapq.heappop(waiting)[2]
        if flight is None:
            flight = self._next_fresh() if self._begun is None else self._next_part(*self._begun)
        flight.runs += 1
        flight.since = perf_counter()  # not `now`, because reading the input may have waited
        batch = flight.batch
        key = (batch.index, batch.number) if isinstance(batch, Part) else batch.index
        self._in_flight[key] = flight
        return batch

    def _next_fresh(self) -> _Flight:
        """Return the next fresh batch, or its first part.

        Raises StopIteration at the end of the input, and when a stop was asked for meanwhile: then
        the input may have ended early, and the batch may lack tasks.
        """
        batch = next(self._fresh, None)
        self.stopped = self.stopped or (self._stop is not None and self._stop())
        if batch is None or self.stopped:
            raise StopIteration
        case = _Case(batch)
        sizes = self._sizes
        earlier = None if self._again is None else self._again(batch)
        if earlier is not None and earlier.rows is not None:
            case.pieces = Pieces(batch)
            case.pieces.keep(earlier.rows, earlier.failed)
            return self._next_part(case, ranges_of(earlier.failed))
        if sizes is not None and sizes.worthwhile and sizes.size(batch, len(batch)) < len(batch):
            case.pieces = Pieces(batch)
            return self._next_part(case, [(0, len(batch))])
        return _Flight(batch, case)

    def _next_part(self, case: _Case, left: list[tuple[int, int]]) -> _Flight:
        """Return the next part of a batch, of which the tasks in the ranges `left` are to be sent.

        A part is the beginning of the first range, or the whole if batches are not to be split.
        """
        batch, (begin, stop) = case.batch, left[0]
        end = stop
        if self._sizes is not None:
            end = begin + self._sizes.size(batch, stop - begin)
            self._sizes.count()
        left = [(end, stop), *left[1:]] if end < stop else left[1:]
        self._begun = (case, left) if left else None
        return _Flight(self._part(batch, begin, end), case)

    def _part(self, batch: Batch, begin: int, end: int) -> Part:
        with self._lock:
            self._parts += 1
            number = self._parts
        return Part(batch.index, batch.tasks[begin:end], batch.first + begin, number)

    def settle(self, result: ProcessingResult) -> Settled | None:
        """Return the final result of a batch, or None when more of it is to be run.

        Raises MeasurementError for a batch that is not in flight: its tasks would count twice.
        """
        self.progress_at = perf_counter()
        key = result.batch if result.part is None else (result.batch, result.part)
        flight = self._in_flight.pop(key, None)
        if flight is None:
            raise MeasurementError(
                f"a result came in for batch {result.batch}, which was not in flight",
                place="the executor",
                remedy="an executor must return exactly one result for each batch; if it is one of "
                "todobatch's, please report this bug",
            )
        if self._sizes is not None and self._sizes.worthwhile:
            self._sizes.learn(result)
        case = flight.case
        case.replaced += result.fault is not None
        case.overran += result.fault == "deadline"
        broken = is_broken(result)
        if (culprit := self._culprit(flight, result)) is not None:
            self._single_out(flight, culprit)
            return None
        if case.pieces is not None:
            return self._settle_part(flight, case.pieces, result, broken=broken)
        if not broken:
            self._hopeless = 0
        again = broken or (self._recovery.retry_failed and bool(result.failures))
        if again and flight.runs <= self._recovery.retries:
            self._retry(flight)
            return None
        if broken and len(flight.batch):
            return self._isolate(flight, result)
        return Settled(
            case.batch, result, retried=case.retried, replaced=case.replaced, overran=case.overran
        )

    def missing(self) -> Iterator[ProcessingResult]:
        """Yield a failed result for each batch without a result, after a round."""
        for flight in self._in_flight.copy().values():
            yield failed_result(
                self._processor.processor_id, flight.batch, "the executor gave no result for it"
            )

    def another_round(self) -> bool:
        """Wait, after a round, until a batch may be run again; returns false when none is left."""
        while not self.stopped:
            with self._lock:
                if not self._waiting:
                    return False
                rest = self._waiting[0][0] - perf_counter()
            if rest <= 0:
                return True
            self.stopped = self._stop is not None and self._stop()
            sleep(min(rest, POLL_S))
        return False

    def due_in(self) -> Seconds | None:
        """Return in how many seconds a batch may be run again; None when none waits."""
        with self._lock:
            if not self._waiting or self.stopped:
                return None
            return max(self._waiting[0][0] - perf_counter(), 0.0)

    def in_flight(self) -> list[tuple[Batch, float]]:
        """Return what is in flight and since when, the longest first; any thread may call it."""
        flights = [(each.batch, each.since) for each in self._in_flight.copy().values()]
        return sorted(flights, key=lambda pair: pair[1])

    def _retry(self, flight: _Flight) -> None:
        flight.case.retried += 1
        pause_s = self._recovery.backoff_s * 2.0 ** min(max(flight.runs - 1, 0), 60)
        self._push(perf_counter() + min(pause_s, LONGEST_BACKOFF_S), flight)

    def _push(self, due: float, flight: _Flight) -> None:
        with self._lock:
            self._pushes += 1  # the first of those that are due at the same time comes first
            heapq.heappush(self._waiting, (due, self._pushes, flight))

    def _culprit(self, flight: _Flight, result: ProcessingResult) -> int | None:
        """Return the task to run alone from now on, by its place in the flight; None if unknown.

        If the coordinator must not make a batch's result of parts, the whole batch is retried
        first. A retry that succeeds then needs no parts.
        """
        batch, case = flight.batch, flight.case
        if result.fault is None or len(result.failures) != 1 or len(batch) < 2:
            return None
        if not flight.halved and self._hopeless >= HOPELESS_AFTER:
            return None
        can_split = self._processor.splittable and self._processor.summary_is_safe
        if not (can_split or flight.halved or flight.runs > self._recovery.retries):
            return None
        place = result.failures[0].task - batch.first
        if not 0 <= place < len(batch):
            return None
        if case.pieces is None:
            case.pieces = Pieces(batch)
        case.pieces.halved |= not can_split
        return place

    def _single_out(self, flight: _Flight, place: int) -> None:
        """Retry the task that broke a batch alone, and run the tasks before and after it again.

        The runs of the batch count as the task's own, but it is run alone at least once before it
        is set aside: a batch that is too long for its deadline has no failing task. All of this
        counts as one retry of the batch.
        """
        case = flight.case
        begin = flight.batch.first - case.batch.first
        end, place = begin + len(flight.batch), begin + place
        for part in ((begin, place), (place + 1, end)):
            if part[0] < part[1]:
                others = self._part(case.batch, *part)
                self._push(perf_counter(), _Flight(others, case, halved=True))
        alone = self._part(case.batch, place, place + 1)
        self._retry(_Flight(alone, case, runs=min(flight.runs, self._recovery.retries)))

    def _isolate(self, flight: _Flight, result: ProcessingResult) -> Settled | None:
        """Begin to isolate the tasks that break a whole batch."""
        case = flight.case
        case.pieces = pieces = Pieces(flight.batch, halved=True)
        if len(flight.batch) > 1 and self._hopeless < HOPELESS_AFTER:
            self._halve(flight)
            return None
        pieces.add_set_aside(flight.batch, result)
        return self._combine(case, pieces)

    def _settle_part(
        self, flight: _Flight, pieces: Pieces, result: ProcessingResult, *, broken: bool
    ) -> Settled | None:
        part = flight.batch
        again = broken and not (flight.halved and len(part) > 1)
        if flight.runs <= self._recovery.retries and (
            again or (not broken and self._recovery.retry_failed and result.failures)
        ):
            self._retry(flight)
        elif not broken:
            pieces.add(part, result)
            self.back += len(part)
            self.back_failed += len(result.failures)
        elif len(part) > 1 and (flight.halved or self._hopeless < HOPELESS_AFTER):
            pieces.halved = True
            self._halve(flight)
        else:
            pieces.add_set_aside(part, result)
        return None if pieces.left else self._combine(flight.case, pieces)

    def _halve(self, flight: _Flight) -> None:
        batch, whole = flight.batch, flight.case.batch
        begin = batch.first - whole.first
        middle, end = begin + len(batch) // 2, begin + len(batch)
        for part in (self._part(whole, begin, middle), self._part(whole, middle, end)):
            flight.case.retried += 1
            self._push(perf_counter(), _Flight(part, flight.case, halved=True))

    def _combine(self, case: _Case, pieces: Pieces) -> Settled:
        self._hopeless = 0 if pieces.results else self._hopeless + 1
        self.back -= sum(part.tasks for part in pieces.results)
        self.back_failed -= len(pieces.failures)
        result = pieces.whole(self._processor)
        if not self._keep_rows:
            result = replace(result, rows=None)
        return Settled(
            case.batch, result, tuple(pieces.results), tuple(pieces.set_aside), case.retried,
            case.replaced, case.overran, pieces.kept,
        )  # fmt: skip
