"""`coroutines`: as many batches at once as there are workers, in one event loop and one thread.

    batches ──► worker coroutine 1..n ──► finished (list) ──► caller

The loop runs only while the caller waits for a result, so threads share nothing. A processor
without an asynchronous method runs outside the loop, as in `sequential`. So it may call
`asyncio.run`.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening, UntilError
from todobatch.executors.stats import CountedResults, CountedRunner, WorkerStats
from todobatch.executors.worker import Worker, is_interrupt, own_context
from todobatch.model import Batch, ProcessingResult, describe_exception, frame_of
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
        if not opening.processor.awaits:
            yield CountedRunner(partial(_run_plainly, crew))
            return
        _refuse_inside_a_loop()
        with asyncio.Runner() as runner:

            def run(batches: Iterable[Batch]) -> CountedResults:
                loop = runner.get_loop()
                feed = UntilError(iter(batches))
                one_pass = _Pass(feed)
                begun = perf_counter()
                tasks = [
                    loop.create_task(one_pass.work(each), context=own_context()) for each in crew
                ]
                try:
                    while finished := runner.run(one_pass.wait()):
                        yield from finished
                    for task in tasks:
                        task.result()  # raises what a worker raised, which would be a bug
                    if feed.error is not None:
                        raise feed.error
                finally:
                    one_pass.closing = True
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


def _run_plainly(crew: Sequence[Worker], batches: Iterable[Batch]) -> CountedResults:
    """Run the batches by turns on the workers, without an event loop."""
    busy = [0.0] * len(crew)
    contexts = [own_context() for _ in crew]
    first = perf_counter()
    for number, batch in enumerate(batches):
        share = number % len(crew)
        begun = perf_counter()
        result = contexts[share].run(crew[share].work, batch)
        busy[share] += perf_counter() - begun
        yield result
    wall = perf_counter() - first
    return tuple(
        WorkerStats(each.label, its, max(wall - its, 0.0))
        for each, its in zip(crew, busy, strict=True)
    )


def _refuse_inside_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ExecutorUnavailableError(
        "this thread runs an event loop already",
        place="executor coroutines",
        remedy="run the batches in another thread: `await asyncio.to_thread(run_batches, …)`",
    )


async def _gather(tasks: list[asyncio.Task[Seconds]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


class _Pass:
    """The state of one run over an iterable of batches."""

    def __init__(self, feed: Iterator[Batch]) -> None:
        self._feed = feed
        self._finished: list[ProcessingResult] = []
        self._changed = asyncio.Event()
        self._working = 0
        self.closing = False
        """Whether the workers are cancelled. Other cancellations come from a batch."""

    async def work(self, worker: Worker) -> Seconds:
        """Process batches until the input ends, and return the seconds spent on them."""
        self._working += 1
        busy: Seconds = 0.0
        try:
            for batch in self._feed:
                begun = perf_counter()
                result = await self._process(worker, batch)
                busy += perf_counter() - begun
                # `_finished` is read after the await, because `wait` replaces the list meanwhile.
                self._finished.append(result)
                self._changed.set()
                if self.closing:  # the batch has swallowed its cancellation
                    break
                await self._let_others_run()
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

    async def _let_others_run(self) -> None:
        """Switch to other workers, even if no batch awaits."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._keep_working()

    def _keep_working(self) -> None:
        """Undo a cancellation, which a batch caused; raise it again if the run ends."""
        if self.closing:
            raise  # noqa: PLE0704 - it is called while the error is handled
        me = asyncio.current_task()
        assert me is not None
        me.uncancel()

    async def _process(self, worker: Worker, batch: Batch) -> ProcessingResult:
        processor = worker.processor
        gil_before, forks = runtime.gil_enabled(), runtime.forks
        try:
            result = await processor.process_batch_async(batch)
        except BaseException as error:
            if runtime.forks != forks:
                runtime.end_forked_child(error)
            if is_interrupt(error):
                raise
            if isinstance(error, asyncio.CancelledError):
                self._keep_working()
            cause, frame = describe_exception(error), frame_of(error)
            result = failed_result(processor.processor_id, batch, cause, frame=frame)
        if runtime.forks != forks:
            runtime.end_forked_child()
        return worker.sign(batch, result, gil_before)
