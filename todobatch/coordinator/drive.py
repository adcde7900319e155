"""Runs a stream of tasks on an executor, and returns a report.

    tasks ─► batched ─► Feed ─► executor (pulls as workers free up) ─► Feed.settle ─► Tally
                                                                          │             ▼
                                            output (the caller's) ◄───────┴──► journal  BatchReport

It keeps counts and one merged aggregate, never tasks or results. So a stream of any length needs
constant memory. The module `recovery` says what happens to batches that do not come back.

Everything runs in the calling thread, with one exception: the workers of `threads` read the input,
one at a time. With a journal or a watchdog, a second thread drives the executor (`_Pump`). So the
calling thread can save and watch while no result comes in.
"""

import sys
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from itertools import chain
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING

from todobatch import runtime
from todobatch.collectors import ThreadSafeResultCollector
from todobatch.coordinator.batching import as_batches, batched
from todobatch.coordinator.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_EXECUTOR,
    DEFAULT_RECOVERY,
    DEFAULT_WORKERS,
    NO_HOOKS,
    Hooks,
    Order,
    Recovery,
)
from todobatch.coordinator.order import in_order
from todobatch.coordinator.parts import PartSizes
from todobatch.coordinator.recovery import Feed, Settled
from todobatch.coordinator.saved.failed_batches import failed_batch
from todobatch.coordinator.tally import Tally
from todobatch.coordinator.watchdog import Watchdog, list_in_flight, no_progress
from todobatch.errors import NoProgressError
from todobatch.executors import (
    BatchRunner,
    Executor,
    Resize,
    WorkerStats,
    get,
    resizes_of,
    stats_of,
)
from todobatch.executors.base import MOST_RESIZES_KEPT, THREADS_NAME
from todobatch.executors.stats import add_stats
from todobatch.model import Batch, BatchReport, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor
from todobatch.processors.catalogue import resolve
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.journal import Journal  # not at run time: it loads SQLite
    from todobatch.coordinator.saved.failed_batches import FailedBatch

TICK_S: Seconds = 0.1
"""While no result comes in, the journal and the watchdog are checked at this interval."""
MOST_QUEUED = 64
"""The pump holds at most this many settled batches for the calling thread."""
END_AFTER_ERROR_S: Seconds = 5.0
"""When a run ends with an error, the batches in flight may run on for this many seconds."""


def run_batches(
    tasks: Iterable[Task] | Iterable[Batch],
    processor: TaskBatchProcessor | str,
    *,
    executor: Executor | str = DEFAULT_EXECUTOR,
    workers: int = DEFAULT_WORKERS,
    batch_size: int | None = None,
    split: bool | None = None,
    keep_rows: bool = False,
    recovery: Recovery = DEFAULT_RECOVERY,
    hooks: Hooks = NO_HOOKS,
    journal: "Journal | None" = None,
    order: Order = "input",
    costs: "Costs | None" = None,
) -> BatchReport:
    """Process a stream of tasks, or of batches, and return a report.

    ::

        report = run_batches(tasks, "pipeline", executor="threads", workers=4)

    `processor` and `executor` are objects or names. Without a `batch_size`, batches have
    `DEFAULT_BATCH_SIZE` tasks. With `split`, the default for tasks without a `batch_size`, slow
    batches are run in parts. Ready-made batches must have distinct indices from 0 up.

    With `keep_rows` the results that `hooks` get hold a row for each task. `recovery` says what
    happens to batches that break. Batches that a `journal` contains are not run again, and the
    report includes them. New results are saved in it.

    `order` says which batches are sent first within a window of `WINDOW_TASKS` tasks. With
    "priority" these are the most urgent ones, with "longest" those with the highest `costs`. The
    order changes neither the rows nor the digest. `costs` records how long each batch takes.

    A failing task or batch stops nothing: the report counts it. Raises UsageError,
    ExecutorUnavailableError, StoreError of the journal, NoProgressError, and the errors of `tasks`.
    """
    run = _Run(
        resolve(processor) if isinstance(processor, str) else processor,
        get(executor) if isinstance(executor, str) else executor,
        workers, keep_rows, recovery, hooks, journal, costs,
    )  # fmt: skip
    batches, ready_made = as_batches(
        tasks, DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    )
    if split is None:
        split = batch_size is None and not ready_made
    return run.report(run.feed(batches, order, split=split))


@dataclass(slots=True)
class _Run:
    """One call of `run_batches`."""

    processor: TaskBatchProcessor
    executor: Executor
    workers: int
    keep_rows: bool
    recovery: Recovery
    hooks: Hooks
    journal: "Journal | None"
    costs: "Costs | None"
    tally: Tally = field(init=False)

    def feed(self, batches: Iterator[Batch], order: Order, *, split: bool) -> Feed:
        """Return the feed of all batches that the journal does not contain."""
        self.tally = Tally(self.processor)
        if self.costs is not None:
            batches = self.costs.of(self.processor.processor_id).fitting(batches)
        if self.journal is not None:
            done = self.journal.before
            batches = (batch for batch in batches if batch.index not in done)
            if self.journal.tally is not None:
                self.tally.restore(self.journal.tally)
        return Feed(
            in_order(batches, order, self.costs),
            self.processor,
            self.recovery,
            keep_rows=self.keep_rows,
            stop=self.hooks.stop,
            sizes=self.sizes() if split else None,
            again=self.failed_before if self.may_split() else None,
        )

    def failed_before(self, batch: Batch) -> "FailedBatch | None":
        """Return what the journal knows of a batch whose failed tasks are to be run again."""
        return None if self.journal is None else self.journal.failed.load(batch.index, len(batch))

    def may_split(self) -> bool:
        """Return whether the result of a batch may be made here, of the results of its tasks."""
        safe = self.processor.summary_is_safe or not self.executor.capabilities.isolates_crashes
        return self.processor.splittable and safe

    def sizes(self) -> PartSizes | None:
        """Return the `PartSizes` of the run, or None when batches must stay whole."""
        can = self.executor.capabilities
        if self.workers < 2 or not self.may_split():
            return None
        return PartSizes(self.workers, copies=can.needs_pickling, keep_rows=self.keep_rows)

    def report(self, feed: Feed) -> BatchReport:
        resumed_tasks = self.tally.tasks
        if self.journal is not None and self.may_split():
            resumed_tasks += self.journal.failed.kept_tasks
        if self.hooks.on_feed is not None:
            self.hooks.on_feed(feed)
        times = _Times()
        source = self.drive(feed, times)
        plain = self.recovery.watchdog_s is None and self.journal is None
        self.follow(source if plain else _Pump(source), feed, times)
        return BatchReport(
            executor=self.executor.name,
            workers=self.workers,
            wall_s=max(times.done, times.noted) - times.begun,
            pool_start_s=times.pool_start_s,
            interrupted=feed.stopped,
            resumed_tasks=resumed_tasks,
            worker_stats=tuple(times.stats.values()),
            resizes=tuple(times.resizes),
            **self.tally.totals(),
        )

    def drive(self, feed: Feed, times: "_Times") -> Generator[Settled]:
        """Start the workers, and yield each batch when it is settled, in rounds until none is left.

        A round ends when no batch may be sent now. The next one sends batches that wait for a
        retry.
        """
        deadline_s, begun = self.recovery.deadline_s, perf_counter()
        with self.executor.open(
            self.processor, self.workers, keep_rows=self.keep_rows, deadline_s=deadline_s
        ) as run:
            times.pool_start_s = perf_counter() - begun
            if self.hooks.on_ready is not None:
                self.hooks.on_ready()
            times.begun = perf_counter()
            more = True
            while more:
                began = perf_counter()
                for result in chain(run(feed), feed.missing()):
                    settled = feed.settle(result)
                    if self.hooks.on_part is not None:
                        self.hooks.on_part(feed.back, feed.back_failed)
                    if settled is not None:
                        yield settled
                times.add(run, began)
                more = feed.another_round()
            times.done = perf_counter()
            if self.hooks.on_done is not None:
                self.hooks.on_done()

    def follow(self, driven: "Generator[Settled] | _Pump", feed: Feed, times: "_Times") -> None:
        """Record each settled batch; in between, save the journal and check the progress."""
        journal, limit_s = self.journal, self.recovery.watchdog_s
        watchdog = None if limit_s is None else Watchdog(limit_s)
        with closing(driven):
            for settled in driven:
                if settled is not None:
                    self.note(settled)
                    times.noted = perf_counter()
                if journal is not None and journal.due():
                    journal.save(self.tally.state())
                if settled is None and watchdog is not None and watchdog.is_stuck(feed):
                    raise self.stuck(feed, watchdog.limit_s)
        if journal is not None and journal.unfinished:
            journal.save(self.tally.state())

    def note(self, settled: Settled) -> None:
        """Add one batch to the totals, the costs and the journal, and call the hooks."""
        batch, result = settled.batch, settled.result
        self.tally.add(settled)
        if self.costs is not None and not (settled.set_aside or settled.replaced or settled.kept):
            came_back = result.success or result.tasks_processed or result.failures
            if came_back:  # otherwise the duration is not that of the whole batch
                self.costs.note(batch, result.duration)
        if self.hooks.on_result is not None:
            self.hooks.on_result(result)
        if self.hooks.on_batch is not None:
            self.hooks.on_batch(batch, result)
        if self.journal is not None:
            self.journal.note(
                batch.index, failed_batch(result, batch.first, keep_rows=self.may_split())
            )

    def stuck(self, feed: Feed, limit_s: Seconds) -> NoProgressError:
        """Save the journal, and return the error that the run ends with."""
        saved = f"{self.tally.tasks} tasks are done"
        if self.journal is not None:
            self.journal.save(self.tally.state())
            saved += f" and saved in {self.journal.path}"
        return no_progress(
            self.executor,
            f"no batch came back for {limit_s:g} s; {saved}; in flight: {list_in_flight(feed)}",
            self.recovery,
        )


@dataclass(slots=True)
class _Times:
    pool_start_s: Seconds = 0.0
    begun: float = 0.0
    done: float = 0.0
    """When the workers had finished; the pump may hold results then."""
    noted: float = 0.0
    """When the calling thread had recorded the last result."""
    stats: dict[str, WorkerStats] = field(default_factory=dict)
    """The statistics of each worker, summed over all rounds."""
    resizes: list[Resize] = field(default_factory=list)
    """The first and the latest changes of size in all rounds, in seconds since `begun`."""

    def add(self, run: BatchRunner, began: float) -> None:
        for each in stats_of(run):
            add_stats(self.stats, each)
        for resize in resizes_of(run):
            self.resizes.append(replace(resize, at_s=resize.at_s + began - self.begun))
        del self.resizes[1 : len(self.resizes) - MOST_RESIZES_KEPT + 1]


def workers_left() -> bool:
    """Return whether threads of a run are alive: they hang, or nothing waited for their batch.

    They are daemons. The process must end without waiting for what they started.
    """
    current = threading.current_thread()
    return any(
        each.daemon and each.name.startswith(THREADS_NAME) and each is not current
        for each in threading.enumerate()
    )


class _Pump:
    """Drives an iterator in a second thread. Yields its items, and None while no item comes.

    `_room` bounds the items that wait in `_queue`. Only the calling thread sets `_closed`. When
    workers hang or the user interrupts, the pump is abandoned; its thread is a daemon.
    """

    def __init__(self, source: Generator[Settled]) -> None:
        self._source = source
        self._queue: SimpleQueue[Settled | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(MOST_QUEUED)
        self._closed = False
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"{THREADS_NAME}pump", daemon=True
        )  # workers get copies of the caller's context
        self._thread.start()

    def __iter__(self) -> "_Pump":
        return self

    def __next__(self) -> Settled | None:
        try:
            item = self._queue.get(timeout=TICK_S)
        except Empty:
            return None
        self._room.release()
        if item is None:
            raise StopIteration
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """Stop the iterator, and wait until the workers have ended.

        After an error it waits `END_AFTER_ERROR_S` at most, because a batch may hang. It does not
        wait after Ctrl-C, nor when the error says that the workers hang.
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
                    self._queue.put(settled)
        except BaseException as error:  # raised again in the calling thread
            end = error
        self._queue.put(end)


def run_batch_processing_system(
    num_processors: int, tasks_per_batch: int
) -> tuple[list[ProcessingResult], Seconds]:
    """Run `num_processors` threads with a batch each of the workload `example8`.

    Prints whether the GIL is off. Processors and batches are made before the clock starts. Returns
    the results in the order in which they came in, and the wall time in seconds.
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
        hooks=Hooks(on_result=collector.add_result),
    )
    return collector.get_all_results(), report.wall_s
