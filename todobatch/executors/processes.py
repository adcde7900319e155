"""`processes`: one process a worker; batches are pickled to it and results back.

Workers are started by a fork server where there is one, otherwise spawned: forking a process that
has threads can deadlock. A worker that dies breaks the whole pool of the standard library; then the
pool is made anew and the batches that were under way run again one at a time, so that the one that
kills its worker is found and becomes a failed result, and no other is lost.
"""

import multiprocessing as mp
import os
import pickle
import signal
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import Capabilities, Executor, Run, Worker
from todobatch.executors.futures import (
    IN_FLIGHT_PER_WORKER,
    PoolBrokenError,
    in_order_of_index,
    run_futures,
)
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor, failed_result
from todobatch.units import Seconds

START_TIMEOUT_S: Seconds = 60.0


class Processes(Executor):
    """A pool of processes: parallel with any interpreter, at the price of copying."""

    name = "processes"
    summary = "a pool of processes, batches and results pickled"

    @property
    def capabilities(self) -> Capabilities:
        """It survives workers that are killed or crash, and uses all CPUs."""
        return Capabilities(
            isolates_crashes=True,
            enforces_deadlines=False,
            needs_pickling=True,
            awaits=False,
            cpu_parallel=True,
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[Run]:
        """See `Executor.open`."""
        self.check(workers, deadline_s)
        pool = _Pool(processor, workers, keep_rows=keep_rows)
        try:
            pool.start()
            yield pool.run
        finally:
            pool.stop()


class _Pool:
    """A process pool that is made anew when a worker dies. Used by one thread."""

    def __init__(self, processor: TaskBatchProcessor, workers: int, *, keep_rows: bool) -> None:
        self._processor = processor
        self._workers = workers
        self._keep_rows = keep_rows
        self._context = _context()
        self._executor: ProcessPoolExecutor | None = None
        self._processes: list[BaseProcess] = []

    def start(self, workers: int | None = None) -> ProcessPoolExecutor:
        """Start the workers and wait until each has said that it is up."""
        count = workers or self._workers
        others = set(mp.active_children())
        try:
            everyone = self._context.Barrier(count)
            self._executor = executor = ProcessPoolExecutor(
                count,
                mp_context=self._context,
                initializer=_begin,
                initargs=(pickle.dumps(self._processor), self._keep_rows, sys.path, everyone),
            )
            # Each call blocks its worker until all have one, so that no worker can take two.
            for future in [executor.submit(_ready) for _ in range(count)]:
                future.result(timeout=START_TIMEOUT_S)
        except Exception as error:
            for process in set(mp.active_children()) - others:
                process.terminate()  # without a manager thread, nobody else would
            raise ExecutorUnavailableError(
                f"a worker process did not start: {describe_exception(error)}",
                place="executor processes",
                remedy="what it printed stands above; a processor of your own must be importable "
                "(not defined in __main__) and must pickle",
            ) from error
        self._processes = [p for p in mp.active_children() if p not in others]
        return executor

    def stop(self) -> None:
        """End the workers; batches not yet begun are dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def run(self, batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
        """Run all batches, over again for those lost with a worker."""
        feed = _Peekable(batches)
        window = IN_FLIGHT_PER_WORKER * self._workers
        while not feed.exhausted():
            executor = self._executor or self.start()
            try:
                yield from run_futures(
                    lambda batch, e=executor: e.submit(_work, batch),  # type: ignore[misc]
                    feed,
                    window,
                    self._processor.processor_id,
                )
            except PoolBrokenError as broken:
                self.stop()
                yield from self._one_at_a_time(in_order_of_index(broken.lost))

    def _one_at_a_time(self, suspects: list[Batch]) -> Iterator[ProcessingResult]:
        """Run each alone: the one whose worker dies again is the one that kills it."""
        for batch in suspects:
            executor = self._executor or self.start(1)
            try:
                yield from run_futures(
                    lambda b, e=executor: e.submit(_work, b),  # type: ignore[misc]
                    iter([batch]),
                    1,
                    self._processor.processor_id,
                )
            except PoolBrokenError:
                self.stop()
                cause = f"its worker {_how_it_ended(self._processes)}, twice; not tried again"
                yield failed_result(self._processor.processor_id, batch, cause, fault="crashed")
        self.stop()


class _Peekable:
    """An iterator that can be asked whether there is more, before workers are started for it."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._feed = iter(batches)
        self._next: Batch | None = None

    def exhausted(self) -> bool:
        if self._next is None:
            self._next = next(self._feed, None)
        return self._next is None

    def __iter__(self) -> "_Peekable":
        return self

    def __next__(self) -> Batch:
        if self.exhausted():
            raise StopIteration
        assert self._next is not None
        batch, self._next = self._next, None
        return batch


def _context() -> BaseContext:
    methods = mp.get_all_start_methods()
    return mp.get_context("forkserver" if "forkserver" in methods else "spawn")


def _how_it_ended(processes: list[BaseProcess]) -> str:
    """How the worker that died first ended; the pool itself ends the others with SIGTERM."""
    for process in processes:
        code = process.exitcode
        if code is not None and code < 0 and -code != signal.SIGTERM:
            return f"was killed ({runtime.signal_name(-code)})"
        if code:
            return f"ended with exit code {code}"
    return "died"


# In the worker. One process runs one batch at a time, so these belong to its only thread.
_worker: Worker
_everyone: Barrier


def _begin(processor: bytes, keep_rows: bool, path: list[str], everyone: Barrier) -> None:
    global _worker, _everyone  # a pool's initializer has nowhere else to put it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator, which drains
    sys.path[:] = path  # before the processor is unpickled, which may need it
    mine = pickle.loads(processor)  # noqa: S301 - our own
    method = str(mp.get_start_method())
    _worker, _everyone = (
        Worker(mine, f"process-{os.getpid()}", method, keep_rows=keep_rows),
        everyone,
    )


def _ready() -> None:
    _everyone.wait(START_TIMEOUT_S)


def _work(batch: Batch) -> ProcessingResult:
    return _worker.work(batch)
