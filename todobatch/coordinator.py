"""Tasks in, batches out to an executor, results back in: the coordinator.

    tasks ─► batched ─► executor (pulls as workers free up) ─► results ─► Tally ─► BatchReport

It keeps counts and one merged aggregate, never tasks or results, so a stream of any length needs
constant memory. All of it runs in the calling thread except the reading of the input, which the
`threads` executor does in its workers, one at a time.
"""

import datetime as dt
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from time import perf_counter
from types import MappingProxyType
from typing import Any

from todobatch import runtime
from todobatch.collectors import ThreadSafeResultCollector
from todobatch.errors import UsageError
from todobatch.executors import Executor, get
from todobatch.model import (
    MAX_FAILURES_KEPT,
    Batch,
    BatchReport,
    ProcessingResult,
    Task,
    TaskFailure,
    WorkerTotals,
    describe_exception,
)
from todobatch.processors.base import DIGEST_MODULUS, TaskBatchProcessor
from todobatch.processors.catalogue import resolve
from todobatch.units import Seconds

DEFAULT_BATCH_SIZE = 100


def batched(tasks: Iterable[Task], size: int = DEFAULT_BATCH_SIZE) -> Iterator[Batch]:
    """Cut a stream of tasks into batches of `size` (the last may be smaller). Lazy."""
    if size < 1:
        raise UsageError(f"{size} tasks a batch", place="--batch-size", remedy="1 or more")
    feed = iter(tasks)
    index = 0
    while chunk := tuple(islice(feed, size)):
        yield Batch(index, chunk, index * size)
        index += 1


def run_batches(
    tasks: Iterable[Task] | Iterable[Batch],
    processor: TaskBatchProcessor | str,
    *,
    executor: Executor | str = "threads",
    workers: int = 2,
    batch_size: int = DEFAULT_BATCH_SIZE,
    keep_rows: bool = False,
    on_result: Callable[[ProcessingResult], None] | None = None,
    on_ready: Callable[[], None] | None = None,
    on_done: Callable[[], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> BatchReport:
    """Process a stream of tasks (or of ready-made batches) and report what it came to.

    `processor` and `executor` may be given by name. `on_result` sees each result as it comes in, in
    the calling thread. `on_ready` is called when the workers are up and the clock has not started,
    `on_done` when the clock has stopped and the workers are still up. When `stop` returns true no
    further batch is handed out, those under way finish, and the report says `interrupted`.

    A failing task or batch is in the report and stops nothing. Raises UsageError,
    ExecutorUnavailableError, and whatever iterating `tasks` raises.
    """
    chosen = get(executor) if isinstance(executor, str) else executor
    worker = resolve(processor) if isinstance(processor, str) else processor
    feed = _Feed(_as_batches(tasks, batch_size), stop)
    tally = Tally(worker)
    begun = perf_counter()
    with chosen.open(worker, workers, keep_rows=keep_rows) as run:
        pool_start = perf_counter() - begun
        if on_ready is not None:
            on_ready()
        clock = perf_counter()
        for result in run(feed):
            tally.add(result)
            if on_result is not None:
                on_result(result)
        wall = perf_counter() - clock
        if on_done is not None:
            on_done()
    return tally.report(chosen.name, workers, wall, pool_start, interrupted=feed.stopped)


class Tally:
    """Running totals of results: constant memory, but for the aggregate's group names."""

    def __init__(self, processor: TaskBatchProcessor) -> None:
        self._processor = processor
        self._partial: dict[str, Any] | None = None
        self._workers: dict[str, WorkerTotals] = {}
        self._failures: list[TaskFailure] = []
        self._errors: list[str] = []
        self.digest = 0
        self.tasks = self.failed = self.batches = self.failed_batches = 0

    def add(self, result: ProcessingResult) -> None:
        """Take one result in."""
        self.batches += 1
        self.tasks += result.tasks
        self.failed += result.tasks - result.tasks_processed
        self.digest = (self.digest + result.digest) % DIGEST_MODULUS
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
            digest=f"{self.digest:064x}",
            result=MappingProxyType(self._processor.finish(self._partial or {})),
            failures=tuple(self._failures),
            errors=tuple(self._errors),
            worker_totals=tuple(self._workers[name] for name in sorted(self._workers)),
            interrupted=interrupted,
        )

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
        old = self._workers.get(seen.worker)
        cpu = set() if seen.cpu is None else {seen.cpu}
        self._workers[seen.worker] = WorkerTotals(
            worker=seen.worker,
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


class _Feed:
    """Hands batches out until `stop` says so. Iterated by one thread at a time."""

    def __init__(self, batches: Iterator[Batch], stop: Callable[[], bool] | None) -> None:
        self._batches = batches
        self._stop = stop
        self.stopped = False

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> Batch:
        if self._stop is not None and self._stop():
            self.stopped = True
            raise StopIteration
        return next(self._batches)


def _as_batches(tasks: Iterable[Task] | Iterable[Batch], size: int) -> Iterator[Batch]:
    feed = iter(tasks)
    first = next(feed, None)
    if first is None:
        return iter(())
    whole: Any = _put_back(first, feed)
    return whole if isinstance(first, Batch) else batched(whole, size)


def _put_back(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def today() -> dt.date:
    """The local date, on which a run's due dates are judged."""
    return dt.datetime.now(tz=dt.UTC).astimezone().date()
