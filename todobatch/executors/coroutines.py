"""`coroutines`: as many batches at once as there are workers, in one event loop and one thread.

    batches ──► worker coroutine 1..n ──► finished (list) ──► caller

The loop runs only while the caller waits for a result, so threads share nothing. A processor that
never awaits runs as it does in `sequential`.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from todobatch import runtime
from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening
from todobatch.executors.stats import CountedResults, CountedRunner, WorkerStats
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result
from todobatch.units import Seconds


class Coroutines(Executor):
    """Coroutines in one event loop; they help only work that awaits."""

    name = "coroutines"
    no_deadline = "a batch that blocks the event loop cannot be stopped"
    summary = "coroutines in one event loop in one thread"
    capabilities = Capabilities(awaits=True)

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the event loop, which ends with the block; each run starts its own coroutines."""
        crew = [opening.worker(f"coroutine-{n + 1}", "coroutine") for n in range(opening.workers)]
        with asyncio.Runner() as runner:

            def run(batches: Iterable[Batch]) -> CountedResults:
                loop = runner.get_loop()
                one_pass = _Pass(iter(batches))
                begun = perf_counter()
                tasks = [loop.create_task(one_pass.work(each)) for each in crew]
                try:
                    while finished := runner.run(one_pass.wait()):
                        yield from finished
                    for task in tasks:
                        task.result()  # raises the input's error, if there is one
                finally:
                    for task in tasks:
                        task.cancel()
                    runner.run(_gather(tasks))
                wall = perf_counter() - begun
                return tuple(
                    WorkerStats(each.label, busy, max(wall - busy, 0.0))
                    for each, task in zip(crew, tasks, strict=True)
                    for busy in (task.result(),)
                )

            yield CountedRunner(run)


async def _gather(tasks: list[asyncio.Task[Seconds]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class _Pass:
    """The state of one run over an iterable of batches."""

    def __init__(self, feed: Iterator[Batch]) -> None:
        self._feed = feed
        self._finished: list[ProcessingResult] = []
        self._changed = asyncio.Event()
        self._working = 0

    async def work(self, worker: Worker) -> Seconds:
        """Process batches until the input ends, and return the seconds spent on them."""
        self._working += 1
        busy: Seconds = 0.0
        try:
            for batch in self._feed:
                begun = perf_counter()
                result = await _process(worker, batch)
                busy += perf_counter() - begun
                # `_finished` is read after the await, because `wait` replaces the list meanwhile.
                self._finished.append(result)
                self._changed.set()
                await asyncio.sleep(0)  # let other workers run even if no batch awaits
        finally:
            self._working -= 1
            self._changed.set()
        return busy

    async def wait(self) -> list[ProcessingResult]:
        """Wait for results and return them; the list is empty when every worker has finished."""
        await asyncio.sleep(0)  # let new workers start
        while not self._finished and self._working:
            self._changed.clear()
            await self._changed.wait()
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
            raise  # the worker was cancelled; the batch did not raise this
        result = failed_result(processor.processor_id, batch, describe_exception(error))
    return worker.sign(batch, result, gil_before)
