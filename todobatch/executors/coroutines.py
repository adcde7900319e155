"""`coroutines`: as many batches at once as there are workers, in one event loop and one thread.

    batches ──► worker coroutine 1..n ──► finished (list) ──► caller

The loop runs only while the caller waits for a result, so threads share nothing. A worker stops the
loop after each batch. Tasks may stop it, too, or raise SystemExit in it: it is started again, until
there is a result.

The workers are not in `asyncio.all_tasks`, so a task that cancels all others does not reach them. A
worker that is cancelled all the same fails its batch, and works on.

A processor without an asynchronous method runs outside the loop, as in `sequential`. So it may call
`asyncio.run`.
"""

import asyncio
import inspect
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening, UntilError
from todobatch.executors.stats import CountedResults, CountedRunner, WorkerStats
from todobatch.executors.worker import Worker, is_interrupt, own_context
from todobatch.model import Batch, ProcessingResult, describe_exception, frame_of
from todobatch.processors.base import failed_result
from todobatch.units import Seconds

END_S: Seconds = 1.0
"""Tasks of the loop that are cancelled get this much time to end, and are abandoned then."""


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
        # `asyncio.Runner` would wait for tasks and threads that never end.
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield CountedRunner(partial(_run, loop, crew))
        finally:
            try:
                _end_background_tasks(loop)
            finally:
                asyncio.set_event_loop(None)
                loop.close()  # it does not wait for the threads of `run_in_executor`


def _run(
    loop: asyncio.AbstractEventLoop, crew: Sequence[Worker], batches: Iterable[Batch]
) -> CountedResults:
    """Run the batches on one coroutine for each worker."""
    feed = UntilError(iter(batches))
    one_pass = _Pass(loop, feed)
    begun = perf_counter()
    try:
        for worker in crew:
            one_pass.start(worker)
        while finished := one_pass.wait():
            yield from finished
        if feed.error is not None:
            raise feed.error
    finally:
        one_pass.end()
    wall = perf_counter() - begun
    return tuple(
        WorkerStats(each.label, busy, max(wall - busy, 0.0))
        for each in crew
        for busy in (one_pass.busy[each.label],)
    )


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


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until somebody stops it, or until a callback or a task ends it with an error.

    asyncio lets SystemExit and KeyboardInterrupt through. The error of a task is also in its
    `asyncio.Task`, which raises it where it is awaited, or logs it. The error of a callback is
    logged here. Raises KeyboardInterrupt in the main thread.
    """
    forks = runtime.forks
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt) as error:
        if runtime.forks != forks:
            runtime.end_forked_child(error)
        if is_interrupt(error):
            raise
        if not _is_of_coroutine(error):
            message = "a callback of the event loop raised SystemExit or KeyboardInterrupt"
            loop.default_exception_handler({"message": message, "exception": error})
    if runtime.forks != forks:
        runtime.end_forked_child()


def _is_of_coroutine(error: BaseException) -> bool:
    """Return whether a coroutine raised the error, not a plain callback."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_flags & inspect.CO_COROUTINE:
            return True
        trace = trace.tb_next
    return False


def _settle(loop: asyncio.AbstractEventLoop, tasks: Collection[asyncio.Task[Any]]) -> None:
    """Run the loop until the tasks have ended, but for `END_S` at most."""
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        loop.stop()

    for task in tasks:
        task.add_done_callback(lambda _: loop.stop())
    timer = loop.call_later(END_S, give_up)
    while not late and not all(task.done() for task in tasks):
        _run_until_stopped(loop)
    timer.cancel()
    for task in tasks:
        if not task.done():
            _abandon(loop, task)


def _abandon(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Log that a task did not end, and keep it until the process has ended.

    Python closes the coroutine of a task that it frees. One that catches BaseException in a loop
    would then run without end.
    """
    message = f"a task of the event loop did not end within {END_S:g} s after it was cancelled"
    loop.default_exception_handler({"message": message, "task": task})
    from ctypes import py_object, pythonapi

    pythonapi.Py_IncRef(py_object(task))


def _end_background_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what batches have left in the loop, and wait for it as long as `_settle` does."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    _settle(loop, left)
    _settle(loop, [asyncio.Task(loop.shutdown_asyncgens(), loop=loop)])


class _Pass:
    """The state of one run over an iterable of batches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, feed: Iterator[Batch]) -> None:
        self._loop = loop
        self._feed = feed
        self._finished: list[ProcessingResult] = []
        self._working: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        """What a worker raised: a bug, or no Exception from the input."""
        self._closing = False
        """Whether the workers are cancelled. Other cancellations come from a batch."""
        self.busy: dict[str, Seconds] = {}
        """The seconds that each worker spent on batches."""

    def start(self, worker: Worker) -> None:
        """Start a worker's coroutine, which no task finds in `asyncio.all_tasks`."""
        self.busy.setdefault(worker.label, 0.0)
        # `loop.create_task` would call a task factory, which a batch may have set.
        task = asyncio.Task(self._work(worker), loop=self._loop, context=own_context())
        asyncio._unregister_task(task)  # noqa: SLF001 - documented for those who extend asyncio
        self._working.add(task)
        task.add_done_callback(partial(self._ended, worker))

    def wait(self) -> list[ProcessingResult]:
        """Wait for results and return them; the list is empty when every worker has finished.

        At the end it raises what a worker raised.
        """
        while not self._finished and self._working:
            _run_until_stopped(self._loop)
        if self._broken is not None and not self._finished:
            raise self._broken
        finished, self._finished = self._finished, []
        return finished

    def end(self) -> None:
        """End the workers: cancel their batches, and wait as long as `_settle` does."""
        self._closing = True
        if self._working:
            for task in self._working:
                task.cancel()
            _settle(self._loop, tuple(self._working))

    async def _work(self, worker: Worker) -> None:
        """Process batches until the input ends."""
        for batch in self._feed:
            begun = perf_counter()
            result = await self._process(worker, batch)
            self.busy[worker.label] += perf_counter() - begun
            # `_finished` is read after the await, because `wait` replaces the list meanwhile.
            self._finished.append(result)
            self._loop.stop()
            if self._closing:  # the batch has swallowed its cancellation
                break
            await self._let_others_run()

    def _ended(self, worker: Worker, task: asyncio.Task[None]) -> None:
        """Note that a worker's coroutine has ended, and start it again if it was cancelled."""
        self._working.discard(task)
        self._loop.stop()
        if not task.cancelled():
            error = task.exception()
            self._broken = self._broken or error
        elif not self._closing:  # before it took its first batch
            self.start(worker)

    async def _let_others_run(self) -> None:
        """Switch to other workers, even if no batch awaits."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self._keep_working()

    def _keep_working(self) -> bool:
        """Undo a cancellation, which a batch caused; raise it again if the run ends.

        Returns whether the worker was cancelled. Otherwise the batch raised CancelledError itself.
        """
        if self._closing:
            raise  # noqa: PLE0704 - it is called while the error is handled
        me = asyncio.current_task()
        assert me is not None
        cancelled = me.cancelling() > 0
        while me.uncancel():
            pass
        return cancelled

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
            cause, frame = describe_exception(error), frame_of(error)
            if isinstance(error, asyncio.CancelledError) and self._keep_working():
                cause = f"{cause}: its coroutine was cancelled by the code of a task"
            result = failed_result(processor.processor_id, batch, cause, frame=frame)
        if runtime.forks != forks:
            runtime.end_forked_child()
        return worker.sign(batch, result, gil_before)
