"""Tasks in, batches out to an executor, results back in: the coordinator.

    tasks ─► batched ─► Feed ─► executor (pulls as workers free up) ─► Feed.settle ─► Tally
                                                                          │             ▼
                                            output (the caller's) ◄───────┴──► journal  BatchReport

It keeps counts and one merged aggregate, never tasks or results, so a stream of any length needs
constant memory. What becomes of batches that do not come back is in `recovery`.

All of it runs in the calling thread, except the reading of the input, which the `threads` executor
does in its workers, one at a time. With a journal or a watchdog the executor is driven by a thread
of its own (`_Pump`), so that the calling thread can save and judge while nothing comes in.
"""

import datetime as dt
import heapq
import json
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from math import inf
from queue import Empty, SimpleQueue
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from todobatch import runtime
from todobatch.collectors import ThreadSafeResultCollector
from todobatch.coordinator.ranges import Ranges
from todobatch.coordinator.recovery import Feed, Policy, Settled
from todobatch.errors import NoProgressError, UsageError
from todobatch.executors import (
    BatchRunner,
    Executor,
    Resize,
    WorkerStats,
    get,
    resizes_of,
    stats_of,
)
from todobatch.executors.base import MOST_RESIZES_KEPT, MOST_WORKERS_NAMED, THREADS_NAME
from todobatch.executors.stats import add_stats
from todobatch.model import (
    HIGHEST_PRIORITY,
    LOWEST_PRIORITY,
    MAX_FAILURES_KEPT,
    Batch,
    BatchReport,
    ProcessingResult,
    Task,
    TaskFailure,
    WorkerTotals,
    describe_exception,
)
from todobatch.processors.base import DIGEST_MODULUS, UNKNOWN_DIGEST, TaskBatchProcessor
from todobatch.processors.catalogue import resolve
from todobatch.processors.parts import InParts
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.journal import (
        Journal,  # at run time only where one is used: it loads SQLite
    )

DEFAULT_BATCH_SIZE = 100
TICK_S: Seconds = 0.1
"""How often the journal and the watchdog are thought of while nothing comes in."""
HANDED_OVER_AT_MOST = 64
END_AFTER_ERROR_S: Seconds = 5.0
"""What the batches under way may still take when the run ends with an error."""
OUT_NAMED = 8
LOOK_AHEAD_TASKS = 10_000
"""Tasks held, beside those under way, to find the urgent or the long ones among them: no further
batch is read once there are so many, and two batches."""
MOST_PASSED_WINDOWS = 4
Order = Literal["input", "priority", "longest"]


def batched(tasks: Iterable[Task], size: int = DEFAULT_BATCH_SIZE) -> Iterator[Batch]:
    """Cut a stream of tasks into batches of `size` (the last may be smaller). Lazy."""
    if size < 1:
        raise UsageError(f"{size} tasks a batch", place="--batch-size", remedy="1 or more")
    feed = iter(tasks)
    index = 0
    while chunk := tuple(islice(feed, size)):
        yield Batch(index, chunk, index * size)
        index += 1


def urgent_first(
    batches: Iterable[Batch], window_tasks: int = LOOK_AHEAD_TASKS, most_passed: int | None = None
) -> Iterator[Batch]:
    """The most urgent of the batches that are next, each time. Lazy.

    A batch is as urgent as its most urgent tasks that are not done: more tasks of priority 1 come
    first, then more of priority 2, and so on; of equals, the first one.

    It holds batches with `window_tasks` tasks (and fewer than one batch more), but two at least.
    A batch that has seen batches behind it with `most_passed` tasks go before it (4 windows, unless
    said otherwise) goes next, whatever is more urgent: so none starves. It goes out at most
    `most_passed` tasks, and fewer than one batch more, after its own place.
    """
    return _best_first(batches, _urgency, window_tasks, most_passed)


def longest_first(
    batches: Iterable[Batch],
    costs: Mapping[int, Seconds],
    window_tasks: int = LOOK_AHEAD_TASKS,
    most_passed: int | None = None,
) -> Iterator[Batch]:
    """The batch of those that are next that takes longest, each time. Lazy.

    `costs` says by a batch's index what it took; one that it does not know goes before all it
    knows, since it may be long, and of equals the first one goes first. Window and bound are those
    of `urgent_first`.

    Workers that take the longest of what is left whenever they are free are done after at most
    4/3 - 1/(3 workers) of the shortest time there is, where the window holds all (R. L. Graham,
    "Bounds on multiprocessing timing anomalies", 1969).
    """
    return _best_first(
        batches, lambda batch: -costs.get(batch.index, inf), window_tasks, most_passed
    )


def _best_first(
    batches: Iterable[Batch],
    key: Callable[[Batch], Any],
    window_tasks: int,
    most_passed: int | None,
) -> Iterator[Batch]:
    """Of those in the window, the batch whose key is least; of equals, the first one."""
    limit = MOST_PASSED_WINDOWS * window_tasks if most_passed is None else most_passed
    feed = enumerate(batches)
    waiting: dict[int, tuple[Batch, int]] = {}  # by place, and the tasks before it in the input
    heap: list[tuple[Any, int]] = []
    read = given = 0  # tasks; an empty batch counts as one
    more = True
    while True:
        while more and (read - given < window_tasks or len(waiting) < 2):
            place, batch = next(feed, (-1, None))
            if batch is None:
                more = False
            else:
                waiting[place] = batch, read
                read += _weight(batch)
                heapq.heappush(heap, (key(batch), place))
        if not waiting:
            return
        oldest = next(iter(waiting))
        if given - waiting[oldest][1] >= limit:
            chosen = oldest
            if len(heap) > 2 * len(waiting):  # what went out as the oldest must not pile up in it
                heap = [entry for entry in heap if entry[1] in waiting]
                heapq.heapify(heap)
        else:
            while heap[0][1] not in waiting:
                heapq.heappop(heap)  # it went out as the oldest
            chosen = heapq.heappop(heap)[1]
        batch, _ = waiting.pop(chosen)
        given += _weight(batch)
        yield batch


def _weight(batch: Batch) -> int:
    return max(len(batch), 1)


def _urgency(batch: Batch) -> tuple[int, ...]:
    counts = [0] * LOWEST_PRIORITY
    for task in batch.tasks:
        if not task.done and HIGHEST_PRIORITY <= task.priority <= LOWEST_PRIORITY:
            counts[task.priority - HIGHEST_PRIORITY] -= 1
    return tuple(counts)


def run_batches(
    tasks: Iterable[Task] | Iterable[Batch],
    processor: TaskBatchProcessor | str,
    *,
    executor: Executor | str = "threads",
    workers: int = 2,
    batch_size: int | None = None,
    cut: bool | None = None,
    keep_rows: bool = False,
    on_result: Callable[[ProcessingResult], None] | None = None,
    on_batch: Callable[[Batch, ProcessingResult], None] | None = None,
    on_feed: Callable[[Feed], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    on_done: Callable[[], None] | None = None,
    stop: Callable[[], bool] | None = None,
    deadline_s: Seconds | None = None,
    retries: int = 2,
    backoff_s: Seconds = 0.05,
    retry_failed: bool = False,
    watchdog_s: Seconds | None = None,
    journal: "Journal | None" = None,
    order: Order = "input",
    costs: "Costs | None" = None,
) -> BatchReport:
    """Process a stream of tasks (or of ready-made batches) and report what it came to.

    No batch size need be chosen: batches are of `DEFAULT_BATCH_SIZE` tasks, executors hand quick
    ones out together, and with `cut` (the default where tasks are given without a `batch_size`)
    slow ones go out in parts to more than one worker: see `recovery`. `deadline_s` holds
    for each part then. Results, output and digest are the same.

    `processor` and `executor` may be given by name. `on_result` sees each batch's result once, in
    the calling thread, when there is nothing more to be done for it; `on_batch` sees it with the
    batch. `on_feed` gets, before anything is started, what knows which batches are out, for a
    watcher in another thread (`Feed.out_since`). `on_ready` is called when the workers are up and
    the clock has not started, `on_done` when the clock has stopped and the workers are still up.
    When `stop` returns true no further batch is handed out, those under way finish, and the report
    says `interrupted`.

    A batch that breaks (its worker dies, it runs longer than `deadline_s` seconds, it fails as a
    whole) is run again up to `retries` times, after `backoff_s` seconds and twice as long each
    time, and then searched for the tasks that break it: see `recovery`. With `retry_failed`
    a batch in which tasks fail by exceptions is run again too; its last result counts.

    With a `journal`, batches that it says are done are not run, what they came to is in the report,
    and what is done is saved in it as it goes. Batches must have the indices 0, 1, 2, … in it.

    With ``order="priority"`` the most urgent batches within a look-ahead of `LOOK_AHEAD_TASKS`
    tasks go first: see `urgent_first`. With ``order="longest"`` those go first that took longest by
    `costs`: see `longest_first`. The output, but for its order, and the digest are the same.
    What batches take is noted in `costs`, whatever the order; whoever opened it saves it.

    Ready-made batches must have an index each, 0 or more, and no two the same.

    A failing task or batch is in the report and stops nothing. Raises UsageError,
    ExecutorUnavailableError, StoreError of the journal, NoProgressError when no result came in for
    `watchdog_s` seconds although batches were out (the workers are left as they are), and whatever
    iterating `tasks` raises.
    """
    policy = Policy(retries, backoff_s, retry_failed)
    if watchdog_s is not None and not watchdog_s > 0:
        raise UsageError(
            f"{watchdog_s} seconds without progress",
            place="--no-progress",
            remedy="more than 0 seconds; leave it out to wait for ever",
        )
    chosen = get(executor) if isinstance(executor, str) else executor
    worker = resolve(processor) if isinstance(processor, str) else processor
    size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    fresh, ready_made = _as_batches(tasks, size)
    if cut is None:
        cut = batch_size is None and not ready_made
    tally = Tally(worker)
    if costs is not None:
        fresh = costs.of(worker.processor_id).fitting(fresh)
    if journal is not None:
        before = journal.before
        fresh = (batch for batch in fresh if batch.index not in before)
        if journal.tally is not None:
            tally.restore(journal.tally)
    fresh = _in_order(fresh, order, costs)
    resumed = tally.tasks
    feed = Feed(
        fresh, worker, policy, keep_rows=keep_rows, stop=stop, cut=cut and workers > 1,
        workers=workers, copies=chosen.capabilities.needs_pickling,
        isolated=chosen.capabilities.isolates_crashes,
    )  # fmt: skip
    if on_feed is not None:
        on_feed(feed)
    times = _Times()
    opened = partial(
        chosen.open, InParts(worker), workers, keep_rows=keep_rows,
        **({} if deadline_s is None else {"deadline_s": deadline_s}),
    )  # fmt: skip
    source = _drive(opened, feed, times, on_ready, on_done)
    driven = source if watchdog_s is None and journal is None else _Pump(source)
    with closing(driven):
        for settled in driven:
            if settled is not None:
                tally.add(settled.result, settled)
                if costs is not None and _measures(settled):
                    costs.note(settled.batch, settled.result.duration)
                if on_result is not None:
                    on_result(settled.result)
                if on_batch is not None:
                    on_batch(settled.batch, settled.result)
                if journal is not None:
                    journal.note(settled.batch.index)
                times.taken = perf_counter()
            if journal is not None and journal.due():
                journal.save(tally.state())
            if settled is None and watchdog_s is not None:
                _watch(feed, watchdog_s, chosen, tally, journal)
    if journal is not None and journal.phase == "running":
        journal.save(tally.state())
    return tally.report(
        chosen.name, workers, max(times.done, times.taken) - times.begun, times.pool_start_s,
        interrupted=feed.stopped, resumed=resumed, stats=tuple(times.stats.values()),
        resizes=tuple(times.resizes),
    )  # fmt: skip


def _in_order(batches: Iterator[Batch], order: Order, costs: "Costs | None") -> Iterator[Batch]:
    if order == "input":
        return batches
    if order == "priority":
        return urgent_first(batches)
    if order != "longest":
        raise UsageError(
            f"unknown order {order!r}", place="--order", remedy="'input', 'priority' or 'longest'"
        )
    if costs is None:
        raise UsageError(
            "nothing says which batches take long",
            place="--order longest",
            remedy="give --costs FILE: a run that is given it writes what batches took, and later "
            "ones go by it",
        )
    return longest_first(batches, costs.known)


def _measures(settled: Settled) -> bool:
    """Whether its duration is what its batch takes: it came back whole, and cost no worker."""
    result = settled.result
    came_back = result.success or result.tasks_processed or result.failures
    return bool(came_back) and not settled.set_aside and not settled.replaced


@dataclass(slots=True)
class _Times:
    pool_start_s: Seconds = 0.0
    begun: float = 0.0
    done: float = 0.0
    """When the workers had no more to do; with a pump, results may be taken in still."""
    taken: float = 0.0
    """When the last result had been taken in."""
    stats: dict[str, WorkerStats] = field(default_factory=dict)
    """By worker, all rounds added up."""
    resizes: list[Resize] = field(default_factory=list)
    """Of all rounds, since `begun`: the first and the latest."""

    def add(self, run: BatchRunner, began: float) -> None:
        """Take in what an executor counted in a round."""
        for each in stats_of(run):
            add_stats(self.stats, each)
        for resize in resizes_of(run):
            self.resizes.append(replace(resize, at_s=resize.at_s + began - self.begun))
        del self.resizes[1 : len(self.resizes) - MOST_RESIZES_KEPT + 1]


def _drive(
    opened: Callable[[], AbstractContextManager[BatchRunner]],
    feed: Feed,
    times: _Times,
    on_ready: Callable[[], None] | None,
    on_done: Callable[[], None] | None,
) -> Generator[Settled]:
    """Bring up the workers and give each batch as it is settled, in rounds until none is left.

    A round ends when the feed has nothing that may go out now; batches that wait to be run again
    go out in the next one, if they did not go out between others in this one.
    """
    begun = perf_counter()
    with opened() as run:
        times.pool_start_s = perf_counter() - begun
        if on_ready is not None:
            on_ready()
        times.begun = perf_counter()
        more = True
        while more:
            began = perf_counter()
            for result in chain(run(feed), feed.lost()):
                if (settled := feed.settle(result)) is not None:
                    yield settled
            times.add(run, began)
            more = feed.another_round()
        times.done = perf_counter()
        if on_done is not None:
            on_done()


def workers_left() -> bool:
    """Whether threads of a run are still there: they hang, or nobody waited for their batch.

    They are daemons and end with the process, which must not wait for what they started.
    """
    mine = threading.current_thread()
    return any(
        each.daemon and each.name.startswith(THREADS_NAME) and each is not mine
        for each in threading.enumerate()
    )


class _Pump:
    """Drives an iterator in a thread of its own: gives what it gives, and None when nothing comes.

    `_room` bounds what has not been taken yet; `_closed` is set by the taker only. A pump whose
    workers hang, or for which the user will not wait, is left: being a daemon, its thread ends with
    the process.
    """

    def __init__(self, source: Generator[Settled]) -> None:
        self._source = source
        self._handed: SimpleQueue[Settled | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(HANDED_OVER_AT_MOST)
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"{THREADS_NAME}pump", daemon=True)
        self._thread.start()

    def __iter__(self) -> "_Pump":
        return self

    def __next__(self) -> Settled | None:
        try:
            item = self._handed.get(timeout=TICK_S)
        except Empty:
            return None
        self._room.release()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Hand no more over, and wait until the workers have ended.

        Not for ever after an error: a batch may hang, and the error would never be told. Nor at all
        after one that says that they hang, or that nobody will wait.
        """
        self._closed = True
        self._room.release()
        error = sys.exc_info()[1]
        if not isinstance(error, KeyboardInterrupt | NoProgressError):
            self._thread.join(None if error is None else END_AFTER_ERROR_S)

    def _run(self) -> None:
        end: BaseException | None = None
        try:
            with closing(self._source):
                for settled in self._source:
                    self._room.acquire()
                    if self._closed:
                        return
                    self._handed.put(settled)
        except BaseException as error:  # the taker raises it
            end = error
        self._handed.put(end)


def _watch(
    feed: Feed,
    limit: Seconds,
    executor: Executor,
    tally: "Tally",
    journal: "Journal | None",
) -> None:
    """Raise NoProgressError when batches are out and none has come back for too long."""
    out = feed.out_since()
    now = perf_counter()
    if not out or now - max(feed.progress_at, out[0][1]) < limit:
        return
    saved = f"{tally.tasks} tasks are done"
    if journal is not None:
        journal.save(tally.state())
        saved += f" and saved in {journal.path}"
    raise no_progress(
        executor, f"no batch came back for {limit:g} s; {saved}; still out: {still_out(feed)}"
    )


def still_out(feed: Feed) -> str:
    """The batches that are out, and for how long, the longest first. From any thread."""
    out = feed.out_since()
    now = perf_counter()
    named = "; ".join(
        f"batch {batch.index} (tasks {batch.first} to {batch.first + len(batch) - 1}) "
        f"for {now - since:.1f} s"
        for batch, since in out[:OUT_NAMED]
    )
    return named + (f"; and {len(out) - OUT_NAMED} more" if len(out) > OUT_NAMED else "")


def no_progress(executor: Executor, cause: str) -> NoProgressError:
    """The error that a run without progress ends with, with the remedy for this executor."""
    remedy = (
        "give --deadline SECONDS, which stops a batch that hangs and finds the task in it"
        if executor.capabilities.enforces_deadlines
        else f"a batch that hangs on {executor.name} cannot be stopped: use --executor processes "
        "with --deadline SECONDS, which stops it and finds the task in it"
    )
    return NoProgressError(cause, place=f"executor {executor.name}", remedy=remedy)


_COUNTS = (
    *("tasks", "failed", "batches", "failed_batches"),
    *("retried", "replaced", "set_aside"),
)


class Tally:
    """Running totals of results: constant memory, but for the aggregate's group names."""

    def __init__(self, processor: TaskBatchProcessor) -> None:
        self._processor = processor
        self._partial: dict[str, Any] | None = None
        self._workers: dict[str, WorkerTotals] = {}
        self._failures: list[TaskFailure] = []
        self._errors: list[str] = []
        self.digest: int | None = 0
        """None when that of a batch is not known."""
        self.tasks = self.failed = self.batches = self.failed_batches = 0
        self.retried = self.replaced = self.set_aside = 0
        self._set_aside: list[TaskFailure] = []

    def add(self, result: ProcessingResult, settled: Settled | None = None) -> None:
        """Take one result in, and what it took to get it."""
        if settled is not None:
            self.retried += settled.retried
            self.replaced += settled.replaced
            self.set_aside += len(settled.set_aside)
            self._set_aside.extend(settled.set_aside[: MAX_FAILURES_KEPT - len(self._set_aside)])
            for part in settled.parts:
                self._add_worker(part)
        self.batches += 1
        self.tasks += result.tasks
        self.failed += result.tasks - result.tasks_processed
        if self.digest is not None:
            known = result.digest != UNKNOWN_DIGEST
            self.digest = (self.digest + result.digest) % DIGEST_MODULUS if known else None
        if not result.success:
            self.failed_batches += 1
            self._keep(result)
        if result.partial:
            self._merge(result)
        self._add_worker(result)

    def report(
        self,
        executor: str,
        workers: int,
        wall_s: Seconds,
        pool_start_s: Seconds,
        *,
        interrupted: bool = False,
        resumed: int = 0,
        stats: tuple[WorkerStats, ...] = (),
        resizes: tuple[Resize, ...] = (),
    ) -> BatchReport:
        """What it came to."""
        return BatchReport(
            executor=executor,
            workers=workers,
            tasks=self.tasks,
            failed=self.failed,
            batches=self.batches,
            failed_batches=self.failed_batches,
            wall_s=wall_s,
            pool_start_s=pool_start_s,
            digest=self._digest(),
            result=MappingProxyType(self._processor.finish(self._partial or {})),
            failures=tuple(self._failures),
            errors=tuple(self._errors),
            worker_totals=tuple(self._workers[name] for name in sorted(self._workers)),
            interrupted=interrupted,
            retried=self.retried,
            set_aside=self.set_aside,
            set_aside_tasks=tuple(self._set_aside),
            replaced=self.replaced,
            resumed_tasks=resumed,
            worker_stats=stats,
            resizes=resizes,
        )

    def state(self) -> dict[str, Any]:
        """The totals as JSON, for `restore`. Raises UsageError for an aggregate that is none."""
        partial = None if self._partial is None else dict(self._partial)
        try:
            same = json.loads(json.dumps(partial, allow_nan=False)) == partial
        except (TypeError, ValueError):
            same = False
        if not same:
            raise UsageError(
                "its aggregate is not the same after json.dumps and json.loads",
                place=f"processor {self._processor.processor_id}",
                remedy="a journal keeps it as JSON: give dictionaries with strings as keys, lists, "
                "numbers and strings in summarise and merge, or run without --journal",
            )
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "digest": self._digest(),
            "partial": partial,
            "workers": [asdict(worker) for worker in self._workers.values()],
            "failures": [asdict(failure) for failure in self._failures],
            "set_aside_tasks": [asdict(failure) for failure in self._set_aside],
            "errors": list(self._errors),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name in _COUNTS:
            setattr(self, name, state[name])
        self.digest = int(state["digest"], 16) if state["digest"] else None
        self._partial = state["partial"]
        self._workers = {
            worker["worker"]: WorkerTotals(**{**worker, "cpus": tuple(worker["cpus"])})
            for worker in state["workers"]
        }
        self._failures = [TaskFailure(**failure) for failure in state["failures"]]
        self._set_aside = [TaskFailure(**failure) for failure in state["set_aside_tasks"]]
        self._errors = list(state["errors"])

    def _digest(self) -> str:
        return "" if self.digest is None else f"{self.digest:064x}"

    def _merge(self, result: ProcessingResult) -> None:
        if self._partial is None:
            self._partial = dict(result.partial)
            return
        try:
            self._partial = self._processor.merge(self._partial, result.partial)
        except Exception as error:
            raise UsageError(
                f"the aggregate of batch {result.batch} cannot be merged: "
                f"{describe_exception(error)}",
                place=f"processor {self._processor.processor_id}",
                remedy="its merge must join any two aggregates that its summarise gives",
            ) from error

    def _keep(self, result: ProcessingResult) -> None:
        room = MAX_FAILURES_KEPT - len(self._failures)
        self._failures.extend(result.failures[:room])
        if result.error is not None and len(self._errors) < MAX_FAILURES_KEPT:
            self._errors.append(result.error)

    def _add_worker(self, result: ProcessingResult) -> None:
        seen = result.seen
        if not seen.pid:
            return  # its worker died, and could report nothing of itself
        name = seen.worker
        if name not in self._workers and len(self._workers) >= MOST_WORKERS_NAMED:
            name = "others"  # those that replaced so many which died
        old = self._workers.get(name)
        cpu = set() if seen.cpu is None else {seen.cpu}
        self._workers[name] = WorkerTotals(
            worker=name,
            pid=seen.pid,
            batches=1 + (old.batches if old else 0),
            tasks=result.tasks_processed + (old.tasks if old else 0),
            busy_s=result.duration + (old.busy_s if old else 0.0),
            gil_before=old.gil_before if old else seen.gil_before,
            gil_after=seen.gil_after or (old is not None and old.gil_after),
            cpus=tuple(sorted(cpu.union(old.cpus if old else ()))),
        )


def run_batch_processing_system(
    num_processors: int, tasks_per_batch: int
) -> tuple[list[ProcessingResult], Seconds]:
    """The source document's system: so many threads, a batch of its reference load for each.

    Prints whether free-threading is active. Processors and batches are made before the clock
    starts. Returns the results in the order in which they came in and the wall time in seconds.
    """
    from todobatch.sources.generator import generate

    active = not runtime.gil_enabled()
    print(f"Free-threading active: {active} (Python {sys.version.split()[0]})")
    collector = ThreadSafeResultCollector()
    report = run_batches(
        list(batched(generate(num_processors * tasks_per_batch), tasks_per_batch)),
        "example8",
        executor="threads",
        workers=num_processors,
        keep_rows=True,
        on_result=collector.add_result,
    )
    return collector.get_all_results(), report.wall_s


def _as_batches(tasks: Iterable[Task] | Iterable[Batch], size: int) -> tuple[Iterator[Batch], bool]:
    """The batches, and whether they were ready-made."""
    feed = iter(tasks)
    first = next(feed, None)
    if first is None:
        return iter(()), False
    whole: Any = _put_back(first, feed)
    ready_made = isinstance(first, Batch)
    return _once_each(whole) if ready_made else batched(whole, size), ready_made


def _once_each(batches: Iterator[Any]) -> Iterator[Batch]:
    """The same, and each is a batch with a number of its own. Raises UsageError."""
    seen = Ranges()
    for batch in batches:
        if not isinstance(batch, Batch):
            raise _not_ready_made(f"{type(batch).__name__} came after batches")
        if not isinstance(batch.index, int) or batch.index < 0:
            raise _not_ready_made(f"a batch has the index {batch.index!r}")
        try:
            seen.add(batch.index)
        except ValueError:
            raise _not_ready_made(f"two batches have the index {batch.index}") from None
        yield batch


def _not_ready_made(cause: str) -> UsageError:
    return UsageError(
        cause,
        place="the batches handed in",
        remedy="number them 0, 1, 2, … as todobatch.coordinator.batched does; or hand in tasks",
    )


def _put_back(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def today() -> dt.date:
    """The local date, on which a run's due dates are judged."""
    return dt.datetime.now(tz=dt.UTC).astimezone().date()
