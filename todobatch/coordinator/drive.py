"""Runs a stream of tasks on an executor, and reports what it came to.

    tasks ─► batched ─► Feed ─► executor (pulls as workers free up) ─► Feed.settle ─► Tally
                                                                          │             ▼
                                            output (the caller's) ◄───────┴──► journal  BatchReport

It keeps counts and one merged aggregate, never tasks or results. So a stream of any length needs
constant memory. `recovery` says what happens to batches that do not come back.

Everything runs in the calling thread, with one exception: the workers of `threads` read the input,
one at a time. With a journal or a watchdog a thread of its own drives the executor (`_Pump`), so
that the calling thread can save and watch while no result comes in.
"""

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from functools import partial
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
from todobatch.coordinator.tally import Tally
from todobatch.coordinator.watchdog import is_stuck, list_in_flight, no_progress
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

TICK_S: Seconds = 0.1
"""How often the journal and the watchdog are checked while no result comes in."""
HANDED_OVER_AT_MOST = 64
"""How many settled batches the pump holds for the calling thread."""
END_AFTER_ERROR_S: Seconds = 5.0
"""How long the batches in flight may run on when the run ends with an error."""


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
    """Process a stream of tasks, or of batches, and report what it came to.

    ::

        report = run_batches(tasks, "pipeline", executor="threads", workers=4)

    `processor` and `executor` are objects or names. Without a `batch_size`, batches have
    `DEFAULT_BATCH_SIZE` tasks. With `split`, the default for tasks without a `batch_size`, slow
    batches go out in parts. Ready-made batches must have distinct indices from 0 up.

    With `keep_rows` the results that `hooks` get hold a row for each task. `recovery` says what
    happens to batches that break. With a `journal`, batches that it contains are not run again,
    what they came to is in the report, and new results are saved in it.

    `order` says which batches go first, within a window of `WINDOW_TASKS` tasks: "priority" sends
    the most urgent ones, "longest" those that took longest by `costs`. The order changes neither
    the rows nor the digest. Whatever the order, `costs` notes how long each batch takes.

    A failing task or batch stops nothing: the report counts it. Raises UsageError,
    ExecutorUnavailableError, StoreError of the journal, NoProgressError of the watchdog, and
    whatever iterating `tasks` raises.
    """
    executor = get(executor) if isinstance(executor, str) else executor
    processor = resolve(processor) if isinstance(processor, str) else processor
    batches, ready_made = as_batches(
        tasks, DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    )
    tally = Tally(processor)
    if costs is not None:
        batches = costs.of(processor.processor_id).fitting(batches)
    if journal is not None:
        done = journal.before
        batches = (batch for batch in batches if batch.index not in done)
        if journal.tally is not None:
            tally.restore(journal.tally)
    resumed_tasks = tally.tasks
    sizes: PartSizes | None = None
    if split or (split is None and batch_size is None and not ready_made):
        sizes = _sizes(processor, executor, workers, keep_rows=keep_rows)
    feed = Feed(
        in_order(batches, order, costs), processor, recovery, keep_rows=keep_rows, stop=hooks.stop,
        sizes=sizes,
    )  # fmt: skip
    if hooks.on_feed is not None:
        hooks.on_feed(feed)
    times = _Times()
    opened = partial(
        executor.open, processor, workers, keep_rows=keep_rows, deadline_s=recovery.deadline_s
    )
    limit_s = recovery.watchdog_s
    source = _drive(opened, feed, times, hooks)
    driven = source if limit_s is None and journal is None else _Pump(source)
    with closing(driven):
        for settled in driven:
            if settled is not None:
                _note(settled, tally, hooks, costs, journal)
                times.taken = perf_counter()
            if journal is not None and journal.due():
                journal.save(tally.state())
            if settled is None and limit_s is not None and is_stuck(feed, limit_s):
                raise _stuck(feed, limit_s, executor, tally, journal)
    if journal is not None and journal.phase == "running":
        journal.save(tally.state())
    return BatchReport(
        executor=executor.name,
        workers=workers,
        wall_s=max(times.done, times.taken) - times.begun,
        pool_start_s=times.pool_start_s,
        interrupted=feed.stopped,
        resumed_tasks=resumed_tasks,
        worker_stats=tuple(times.stats.values()),
        resizes=tuple(times.resizes),
        **tally.totals(),
    )


def _sizes(
    processor: TaskBatchProcessor, executor: Executor, workers: int, *, keep_rows: bool
) -> PartSizes | None:
    """How large parts are to be; None when batches must stay whole."""
    can = executor.capabilities
    safe = processor.summary_is_safe or not can.isolates_crashes
    if workers < 2 or not (processor.splittable and safe):
        return None
    return PartSizes(workers, copies=can.needs_pickling, keep_rows=keep_rows)


def _note(
    settled: Settled, tally: Tally, hooks: Hooks, costs: "Costs | None", journal: "Journal | None"
) -> None:
    """Add one batch to everything that counts or keeps results."""
    batch, result = settled.batch, settled.result
    tally.add(settled)
    if costs is not None and not settled.set_aside and not settled.replaced:
        came_back = result.success or result.tasks_processed or result.failures
        if came_back:  # otherwise its duration is not what the batch takes
            costs.note(batch, result.duration)
    if hooks.on_result is not None:
        hooks.on_result(result)
    if hooks.on_batch is not None:
        hooks.on_batch(batch, result)
    if journal is not None:
        journal.note(batch.index)


def _stuck(
    feed: Feed, limit_s: Seconds, executor: Executor, tally: Tally, journal: "Journal | None"
) -> NoProgressError:
    """Save what is done, and make the error that the run ends with."""
    saved = f"{tally.tasks} tasks are done"
    if journal is not None:
        journal.save(tally.state())
        saved += f" and saved in {journal.path}"
    return no_progress(
        executor,
        f"no batch came back for {limit_s:g} s; {saved}; in flight: {list_in_flight(feed)}",
    )


@dataclass(slots=True)
class _Times:
    pool_start_s: Seconds = 0.0
    begun: float = 0.0
    done: float = 0.0
    """When the workers had no more to do. The pump may still hold results then."""
    taken: float = 0.0
    """When the calling thread had noted the last result."""
    stats: dict[str, WorkerStats] = field(default_factory=dict)
    """By worker, the sum of all rounds."""
    resizes: list[Resize] = field(default_factory=list)
    """Of all rounds, since `begun`: the first and the latest ones."""

    def add(self, run: BatchRunner, began: float) -> None:
        """Add what an executor counted in a round."""
        for each in stats_of(run):
            add_stats(self.stats, each)
        for resize in resizes_of(run):
            self.resizes.append(replace(resize, at_s=resize.at_s + began - self.begun))
        del self.resizes[1 : len(self.resizes) - MOST_RESIZES_KEPT + 1]


def _drive(
    opened: Callable[[], AbstractContextManager[BatchRunner]],
    feed: Feed,
    times: _Times,
    hooks: Hooks,
) -> Generator[Settled]:
    """Start the workers and yield each batch as it is settled, in rounds until none is left.

    A round ends when the feed has nothing that may go out now. Batches that still wait to be run
    again go out in the next round.
    """
    begun = perf_counter()
    with opened() as run:
        times.pool_start_s = perf_counter() - begun
        if hooks.on_ready is not None:
            hooks.on_ready()
        times.begun = perf_counter()
        more = True
        while more:
            began = perf_counter()
            for result in chain(run(feed), feed.missing()):
                if (settled := feed.settle(result)) is not None:
                    yield settled
            times.add(run, began)
            more = feed.another_round()
        times.done = perf_counter()
        if hooks.on_done is not None:
            hooks.on_done()


def workers_left() -> bool:
    """Whether threads of a run are still alive: they hang, or nobody waited for their batch.

    They are daemons. The process must end without waiting for what they started.
    """
    mine = threading.current_thread()
    return any(
        each.daemon and each.name.startswith(THREADS_NAME) and each is not mine
        for each in threading.enumerate()
    )


class _Pump:
    """Drives an iterator in a thread of its own. Yields its items, and None when none comes.

    `_room` bounds the items that wait in `_handed`. Only the calling thread sets `_closed`. When
    workers hang, or the user does not want to wait, the pump is abandoned: its thread is a daemon
    and ends with the process.
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
        """Hand nothing more over, and wait until the workers have ended.

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
                    self._handed.put(settled)
        except BaseException as error:  # the calling thread raises it
            end = error
        self._handed.put(end)


def run_batch_processing_system(
    num_processors: int, tasks_per_batch: int
) -> tuple[list[ProcessingResult], Seconds]:
    """Run the source document's system: `num_processors` threads, each with a batch of its load.

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
