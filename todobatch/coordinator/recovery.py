"""What becomes of batches that do not come back: run again, then searched for what breaks them.

    fresh batches ─┐                                        ┌─► settled: one result a batch
    to run again ──┴─► Feed ──► executor ──► Feed.settle ───┤
         ▲                                                  └─► again, later ─┐
         └────────────────────────────────────────────────────────────────────┘

A batch *breaks* when its worker died or overran the deadline (`fault`), or when it failed as a
whole, with no task to name. It is run again up to `retries` times, each time after twice the
backoff. Broken still, it is cut in halves that are run as batches of their own; a half that breaks
is cut on at once, until a single task breaks each of its `retries` + 1 runs: that one is set aside.

A batch whose tasks are slow, as the latest results tell, goes out in parts of `PART_S` of work in
the first place where the caller allows it, so that all workers are busy to the end and a batch size
need not be chosen; until a result has come in, a few tasks go out singly. A part that breaks is run
again as a batch is, and then cut in halves.

The batch is then put together again from the rows of its parts, so that its result, aggregate and
digest are those of a batch in which just the tasks set aside had failed. A batch's own result is
given once, whatever it took; tasks in it may have been *run* more than once.
"""

import heapq
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter, sleep
from types import MappingProxyType
from typing import Any

from todobatch.errors import MeasurementError, UsageError
from todobatch.model import Batch, Json, ProcessingResult, Task, TaskFailure, describe_exception
from todobatch.processors.base import (
    TASK_ERRORS,
    UNKNOWN_DIGEST,
    TaskBatchProcessor,
    digest_of,
    failed_result,
    may_be_cut,
)
from todobatch.processors.parts import partial_of, rows_of
from todobatch.units import Ratio, Seconds

LONGEST_BACKOFF_S: Seconds = 30.0
MOST_WAITING = 1_000
"""So many batches at most wait to be run again; one more, and the first of them need wait no
longer. It bounds memory where everything breaks."""
HOPELESS_AFTER = 3
"""After so many batches in a row of which searching saved no task, later ones that break are set
aside without a search, until one comes back. It bounds time where everything breaks."""
POLL_S: Seconds = 0.02
PART_S: Seconds = 0.03
"""Work in a part of a slow batch: long against what handing it over costs, 0.1 ms at most."""
PART_BYTES = 1_000_000
"""Of text in a part that is copied, there or back: so much is packed, sent and unpacked while
others work, and in memory that is used again and again."""
COPYING_AT_MOST: Ratio = 0.05
"""Of a part's time: when packing rows that nobody wants takes more, batches go out whole."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often to try, and how patiently. Raises UsageError for what makes no sense."""

    retries: int = 2
    backoff_s: Seconds = 0.05
    """Before the first retry; twice as long before each further one, at most
    `LONGEST_BACKOFF_S`. Other batches go on meanwhile."""
    retry_failed: bool = False
    """Run a batch again for tasks that failed by an exception, too."""

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise UsageError(f"{self.retries} retries", place="--retries", remedy="0 or more")
        if not 0 <= self.backoff_s < float("inf"):
            raise UsageError(
                f"a backoff of {self.backoff_s} seconds", place="--backoff", remedy="0 or more"
            )


@dataclass(frozen=True, slots=True)
class Settled:
    """What one batch came to in the end."""

    batch: Batch
    result: ProcessingResult
    parts: tuple[ProcessingResult, ...] = ()
    """Results of the parts it was cut into, for the account of the workers."""
    set_aside: tuple[TaskFailure, ...] = ()
    retried: int = 0
    """Runs of it, or of parts of it, beyond the first."""
    replaced: int = 0
    """Workers that were lost to it."""


class _Case:
    """One batch on its way to being settled."""

    __slots__ = ("batch", "replaced", "retried", "search")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.retried = self.replaced = 0
        self.search: _Search | None = None


class _Out:
    """A batch, or a part of one, that is out or waits to go out again."""

    __slots__ = ("batch", "case", "runs", "searched", "since")

    def __init__(self, batch: Batch, case: _Case, *, searched: bool = False) -> None:
        self.batch = batch
        self.case = case
        self.searched = searched
        """Part of one that broke: it is cut on at once when it breaks."""
        self.runs = 0
        self.since = 0.0


@dataclass(slots=True)
class _Search:
    """What is known of a batch that is run in parts."""

    left: int
    rows: list[Json]
    broke: bool = False
    """The whole or a part broke so often that it was cut in halves."""
    failures: list[TaskFailure] = field(default_factory=list)
    aside: list[TaskFailure] = field(default_factory=list)
    parts: list[ProcessingResult] = field(default_factory=list)


class Feed:
    """The batches that an executor is to run, each until it is settled.

    Iterated by the executor, one thread at a time; `settle` and what follows it belong to the
    thread that takes the results. `_lock` guards `_waiting` and `_parts`; `_out` needs none, for
    each change of a dict and its copy are whole, GIL or not. Fresh batches are read outside it, for
    reading may take its time. `_rest` belongs to the thread that iterates, `_cost`
    is written by the one that settles.
    """

    def __init__(
        self,
        fresh: Iterator[Batch],
        processor: TaskBatchProcessor,
        policy: Policy,
        *,
        keep_rows: bool = False,
        stop: Callable[[], bool] | None = None,
        cut: bool = False,
        workers: int = 1,
        copies: bool = False,
        isolated: bool = False,
    ) -> None:
        self._cut = cut and may_be_cut(processor, isolated=isolated)
        self._copies = copies
        self._workers = workers
        self._blind = 0
        """Parts that were cut when nothing was known of their tasks."""
        self._rest: tuple[_Case, int] | None = None
        """A batch of which parts are out, and how many of its tasks."""
        self._cost: Seconds | None = None
        """A task's, by the latest results."""
        self._row = 0
        """Text in a task's row, by the latest result, where rows are copied back."""
        self._fresh = fresh
        self._processor = processor
        self._policy = policy
        self._keep_rows = keep_rows
        self._stop = stop
        self._lock = threading.Lock()
        self._out: dict[int, _Out] = {}
        self._waiting: list[tuple[float, int, _Out]] = []
        self._pushes = 0
        self._parts = 0
        self._hopeless = 0
        self.stopped = False
        self.progress_at = perf_counter()
        """When a result came in last."""

    def __iter__(self) -> "Feed":
        return self

    def __next__(self) -> Batch:
        if self.stopped or (self._stop is not None and self._stop()):
            self.stopped = True
            if self._rest is None:  # otherwise a batch has been begun, and is finished
                raise StopIteration
        now = perf_counter()
        out: _Out | None = None
        if self._waiting and not self.stopped:
            with self._lock:
                out = self._due(now)
        if out is None:
            out = self._part() if self._rest is not None else self._first()
        out.runs += 1
        out.since = perf_counter()  # not `now`: the input may have been waited for
        self._out[out.batch.index] = out
        return out.batch

    def _first(self) -> _Out:
        """The next fresh batch, or the first part of it."""
        batch = next(self._fresh)
        case = _Case(batch)
        if self._cut and self._part_size(batch, len(batch)) < len(batch):
            case.search = _Search(len(batch), [None] * len(batch))
            self._rest = case, 0
            return self._part()
        return _Out(batch, case)

    def _part(self) -> _Out:
        """The next part of the batch of which parts are out."""
        assert self._rest is not None
        case, done = self._rest
        batch = case.batch
        end = done + self._part_size(batch, len(batch) - done)
        self._blind += self._cost is None
        part = Batch(self._number(), batch.tasks[done:end], batch.first + done)
        self._rest = (case, end) if end < len(batch) else None
        return _Out(part, case)

    def _number(self) -> int:
        """Of a new part. Parts are cut by the thread that iterates and halved by the other."""
        with self._lock:
            self._parts += 1
            return -self._parts

    def _part_size(self, batch: Batch, left: int) -> int:
        cost = self._cost
        if cost is None:  # one for each worker and one to come, then twice as many, and so on
            return min(left, 1 << max(self._blind // self._workers - 1, 0))
        size = left if cost * left < 1.5 * PART_S else int(PART_S / cost)
        if self._copies and left:
            ends = (batch.tasks[0], batch.tasks[-1])  # which need not be of our `Task`
            text = max(_text(getattr(task, "title", None)) for task in ends)
            size = min(size, PART_BYTES // max(text, self._row, 1))
        return min(max(size, 1), left)

    def _measure(self, result: ProcessingResult) -> None:
        if result.fault is None and result.tasks and result.duration > 0:
            mean = result.duration / result.tasks
            # Slow ones count at once, quick ones bit by bit: too long a part is the worse mistake.
            old = self._cost
            self._cost = mean if old is None else max(mean, 0.6 * old + 0.4 * mean)
            if self._keep_rows:
                self._row = max(map(_text, (result.rows or ())[:1]), default=0)
            elif result.batch < 0 and result.seen.serialise_s > COPYING_AT_MOST * result.duration:
                self._cut = result.duration < PART_S / 10  # of so little that says nothing

    def settle(self, result: ProcessingResult) -> Settled | None:
        """Take a result in: what its batch came to, or None when more is to be run for it.

        Raises MeasurementError for a result of a batch that is not out: it would count twice.
        """
        self.progress_at = perf_counter()
        out = self._out.pop(result.batch, None)
        if out is None:
            raise MeasurementError(
                f"a result came in for batch {result.batch}, which was not out",
                place="the executor",
                remedy="each batch must give exactly one result; this is a fault in the executor",
            )
        if self._cut:
            self._measure(result)
        case = out.case
        case.replaced += result.fault is not None
        broken = _broken(result)
        if case.search is not None:
            return self._settle_part(out, case.search, result, broken=broken)
        if not broken:
            self._hopeless = 0
        again = broken or (self._policy.retry_failed and bool(result.failures))
        if again and out.runs <= self._policy.retries:
            self._again(out)
            return None
        if broken and len(out.batch):
            return self._search(out, result)
        return Settled(case.batch, result, retried=case.retried, replaced=case.replaced)

    def lost(self) -> Iterator[ProcessingResult]:
        """After a round: a failed result for each batch that the executor never gave one for."""
        batches = [out.batch for out in self._out.copy().values()]
        for batch in batches:
            yield failed_result(
                self._processor.processor_id, batch, "the executor gave no result for it"
            )

    def another_round(self) -> bool:
        """After a round: wait until a batch may be run again. False when there is none left."""
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
        """In how many seconds a batch may be run again, at once if 0; None where none waits."""
        with self._lock:
            if not self._waiting or self.stopped:
                return None
            return max(self._waiting[0][0] - perf_counter(), 0.0)

    def out_since(self) -> list[tuple[Batch, float]]:
        """The batches that are out, and since when, the longest first.

        A part has the index of its batch here.
        """
        out = [
            (replace(each.batch, index=each.case.batch.index), each.since)
            for each in self._out.copy().values()
        ]
        return sorted(out, key=lambda pair: pair[1])

    def _due(self, now: float) -> _Out | None:
        if self._waiting and (self._waiting[0][0] <= now or len(self._waiting) > MOST_WAITING):
            return heapq.heappop(self._waiting)[2]
        return None

    def _again(self, out: _Out) -> None:
        out.case.retried += 1
        wait = min(self._policy.backoff_s * 2.0 ** min(out.runs - 1, 60), LONGEST_BACKOFF_S)
        self._push(perf_counter() + wait, out)

    def _push(self, due: float, out: _Out) -> None:
        with self._lock:
            self._pushes += 1  # of those due at one time, the first in is the first out
            heapq.heappush(self._waiting, (due, self._pushes, out))

    def _search(self, out: _Out, result: ProcessingResult) -> Settled | None:
        """Begin to look for the tasks that break a batch."""
        case = out.case
        case.search = search = _Search(len(out.batch), [None] * len(out.batch), broke=True)
        if len(out.batch) > 1 and self._hopeless < HOPELESS_AFTER:
            self._halve(out)
            return None
        self._set_aside(search, out.batch, result)
        return self._put_together(case, search)

    def _settle_part(
        self, out: _Out, search: _Search, result: ProcessingResult, *, broken: bool
    ) -> Settled | None:
        again = broken and not (out.searched and len(out.batch) > 1)
        if out.runs <= self._policy.retries and (
            again or (not broken and self._policy.retry_failed and result.failures)
        ):
            self._again(out)
        elif not broken:
            search.parts.append(result)
            search.failures.extend(result.failures)
            search.left -= len(out.batch)
            offset = out.batch.first - out.case.batch.first
            for place, row in enumerate(rows_of(result) or (), start=offset):
                search.rows[place] = row
        elif len(out.batch) > 1 and (out.searched or self._hopeless < HOPELESS_AFTER):
            search.broke = True
            self._halve(out)
        else:
            self._set_aside(search, out.batch, result)
        return None if search.left else self._put_together(out.case, search)

    def _halve(self, out: _Out) -> None:
        batch, middle = out.batch, len(out.batch) // 2
        for tasks, first in (
            (batch.tasks[:middle], batch.first),
            (batch.tasks[middle:], batch.first + middle),
        ):
            part = Batch(self._number(), tasks, first)
            out.case.retried += 1
            self._push(perf_counter(), _Out(part, out.case, searched=True))

    def _set_aside(self, search: _Search, batch: Batch, result: ProcessingResult) -> None:
        cause = _cause(result, batch)
        for place, task in enumerate(batch.tasks, start=batch.first):
            title = task.title if isinstance(task, Task) else repr(task)
            search.aside.append(TaskFailure(place, title, cause))
        search.left -= len(batch)

    def _put_together(self, case: _Case, search: _Search) -> Settled:
        self._hopeless = 0 if search.parts else self._hopeless + 1
        result = _whole(self._processor, case.batch, search)
        if not self._keep_rows:
            result = replace(result, rows=None)
        return Settled(
            case.batch, result, tuple(search.parts), tuple(search.aside), case.retried,
            case.replaced,
        )  # fmt: skip


def _text(value: object) -> int:
    return len(value) if isinstance(value, str) else 0


def _broken(result: ProcessingResult) -> bool:
    """Whether a batch did not come back, or failed with no task to name."""
    if result.fault is not None:
        return True
    return not (result.success or result.tasks_processed or result.failures)


def _cause(result: ProcessingResult, batch: Batch) -> str:
    """The error without the name of the part, which means nothing to a reader."""
    error = result.error or "it failed without a word"
    name = f" (tasks {batch.first} to {batch.first + len(batch) - 1}): "
    return error.partition(name)[2] or error


def _whole(processor: TaskBatchProcessor, batch: Batch, search: _Search) -> ProcessingResult:
    """The batch's result from its parts, as if the tasks set aside had failed by themselves."""
    failures = sorted(search.failures + search.aside, key=lambda failure: failure.task)
    parts = search.parts
    started = min((part.started for part in parts), default=perf_counter())
    result: ProcessingResult | None = None
    if (search.aside or not search.broke) and all(rows_of(part) is not None for part in parts):
        result = processor.result_of(batch, search.rows, failures, started)
    if result is None or _broken(result):
        # Its processor has a `process_batch` of its own that gives no rows, or an aggregate that
        # can be made of the parts and not of the whole: where no task was set aside, making that
        # of the whole is what broke the worker, and would break this process.
        result = _merged(processor, batch, search, failures, parts, started)
    return replace(
        result, duration=sum(part.duration for part in parts), seen=replace(result.seen, pid=0)
    )


def _merged(
    processor: TaskBatchProcessor,
    batch: Batch,
    search: _Search,
    failures: Sequence[TaskFailure],
    parts: Sequence[ProcessingResult],
    started: float,
) -> ProcessingResult:
    partial: dict[str, Any] | None = None
    failed = {failure.task for failure in failures}
    rows = [row for n, row in enumerate(search.rows, start=batch.first) if n not in failed]
    try:
        for part in parts:
            mine = partial_of(part)
            partial = mine if partial is None else processor.merge(partial, mine)
        if any(rows_of(part) is None for part in parts):
            digest = UNKNOWN_DIGEST  # nobody knows what the whole batch would have given
        else:
            digest = digest_of(batch.index, rows, partial or {})
    except TASK_ERRORS as error:
        return failed_result(
            processor.processor_id, batch, describe_exception(error), started=started
        )
    return ProcessingResult(
        processor_id=processor.processor_id,
        tasks_processed=sum(part.tasks_processed for part in parts),
        duration=0.0,
        success=not failures,
        error=None
        if not failures
        else f"processor {processor.processor_id}, "
        f"batch {batch.index}: {len(failures)} of {len(batch)} tasks failed: "
        + "; ".join(f"task {f.task} {f.title!r}: {f.error}" for f in failures[:3]),
        batch=batch.index,
        tasks=len(batch),
        started=started,
        rows=tuple(search.rows),
        partial=MappingProxyType(partial or {}),
        digest=digest,
        failures=tuple(failures),
    )
