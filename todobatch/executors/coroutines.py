"""`coroutines`: as many batches at once as there are workers, in one event loop and one thread.

    batches ──► worker coroutine 1..n ──► finished (list) ──► caller

The loop runs only while the caller waits for a result, so nothing is shared between threads. A
processor that never awaits runs here as it does in sequence.
"""

import asyncio
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from todobatch import runtime
from todobatch.executors.base import (
    BatchRunner,
    Capabilities,
    Counted,
    Executor,
    Worker,
    WorkerStats,
)
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.units import Seconds


class Coroutines(Executor):
    """Coroutines in one event loop; they win where the work waits, and only there."""

    name = "coroutines"
    no_deadline = "what awaits could be cancelled, but what blocks the event loop cannot be stopped"
    summary = "coroutines in one event loop in one thread"

    @property
    def capabilities(self) -> Capabilities:
        """It awaits; it never uses a second CPU."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=False,
            awaits=True,
            cpu_parallel=False,
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """See `Executor.open`."""
        self.check(workers, deadline_s)
        staff = [
            Worker(processor, f"coroutine-{n + 1}", "coroutine", keep_rows=keep_rows)
            for n in range(workers)
        ]
        with asyncio.Runner() as runner:

            def run(
                batches: Iterable[Batch],
            ) -> Generator[ProcessingResult, None, tuple[WorkerStats, ...]]:
                loop = runner.get_loop()
                job = _Run(iter(batches))
                begun = perf_counter()
                tasks = [loop.create_task(job.work(each)) for each in staff]
                try:
                    while finished := runner.run(job.wait()):
                        yield from finished
                    for task in tasks:
                        task.result()  # raises what reading the input threw
                finally:
                    for task in tasks:
                        task.cancel()
                    runner.run(_gather(tasks))
                wall = perf_counter() - begun
                return tuple(
                    WorkerStats(each.label, busy, max(wall - busy, 0.0))
                    for each, task in zip(staff, tasks, strict=True)
                    for busy in (task.result(),)
                )

            yield Counted(run)


async def _gather(tasks: list[asyncio.Task[Seconds]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class _Run:
    """One pass over an iterable of batches."""

    def __init__(self, feed: Iterator[Batch]) -> None:
        self._feed = feed
        self._finished: list[ProcessingResult] = []
        self._news = asyncio.Event()
        self._working = 0

    async def work(self, worker: Worker) -> Seconds:
        """A worker's share: pull, await, hand in, until there is no more. Gives its busy time."""
        self._working += 1
        busy: Seconds = 0.0
        try:
            for batch in self._feed:
                begun = perf_counter()
                result = await _process(worker, batch)
                busy += perf_counter() - begun
                self._finished.append(result)  # not in one line: `wait` changes the list meanwhile
                self._news.set()
                await asyncio.sleep(0)  # a batch that never awaits must not shut the others out
        finally:
            self._working -= 1
            self._news.set()
        return busy

    async def wait(self) -> list[ProcessingResult]:
        """Results that have come in, as soon as there is one; empty when all are through."""
        await asyncio.sleep(0)  # lets workers start that were only created
        while not self._finished and self._working:
            self._news.clear()
            await self._news.wait()
        finished, self._finished = self._finished, []
        return finished


async def _process(worker: Worker, batch: Batch) -> ProcessingResult:
    processor = worker.processor
    gil_before = runtime.gil_enabled()
    try:
        result = await processor.process_batch_async(batch)
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        me = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and me is not None and me.cancelling():
            raise  # it is meant for us, not thrown by the batch
        result = failed_result(processor.processor_id, batch, describe_exception(error))
    return worker.sign(batch, result, gil_before)
