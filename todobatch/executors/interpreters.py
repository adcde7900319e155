"""`interpreters`: one subinterpreter a worker, each with a GIL of its own, in one process.

Needs Python 3.14 (PEP 734). Batches and results are pickled across. Some extension modules cannot
be imported in a subinterpreter (psutil, numpy and pandas among them): a processor that needs one
belongs on `threads` or `processes`.
"""

import importlib
import os
import pickle
import select
import sys
from collections.abc import Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager

from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import Capabilities, Executor, Run, Worker
from todobatch.executors.futures import IN_FLIGHT_PER_WORKER, run_futures
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

FIRST_VERSION = (3, 14)
POLL_S = 0.05


class Interpreters(Executor):
    """A pool of subinterpreters: parallel with or without a GIL, at the price of copying."""

    name = "interpreters"
    no_deadline = "a subinterpreter that hangs cannot be stopped"
    summary = "a pool of subinterpreters in one process, batches and results pickled"

    @property
    def capabilities(self) -> Capabilities:
        """It uses all CPUs; a crash takes the whole process with it."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=True,
            awaits=False,
            cpu_parallel=True,
        )

    def available(self) -> str | None:
        """Needs `InterpreterPoolExecutor`, new in 3.14."""
        if sys.version_info >= FIRST_VERSION:
            return None
        running = ".".join(map(str, sys.version_info[:2]))
        return f"InterpreterPoolExecutor needs Python 3.14; this is {running}"

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
        # By name: the type checker looks at the oldest Python, which does not have it.
        pool = importlib.import_module("concurrent.futures.interpreter").InterpreterPoolExecutor
        try:
            pickled = pickle.dumps(processor)
        except Exception as error:
            raise _did_not_start(error) from error
        with pool(workers, initializer=_begin, initargs=(pickled, keep_rows, sys.path)) as executor:
            _bring_up(executor, workers)

            def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
                return run_futures(
                    lambda batch: executor.submit(_work, batch),
                    iter(batches),
                    IN_FLIGHT_PER_WORKER * workers,
                    processor.processor_id,
                )

            try:
                yield run
            finally:
                executor.shutdown(wait=True, cancel_futures=True)


def _bring_up(executor: futures.Executor, workers: int) -> None:
    """Start every worker: each says that it is up, and waits until all are."""
    up_reader, up_writer = os.pipe()
    go_reader, go_writer = os.pipe()
    starting = [executor.submit(_meet, up_writer, go_reader) for _ in range(workers)]
    try:
        arrived = 0
        while arrived < workers and not any(future.done() for future in starting):
            if select.select([up_reader], [], [], POLL_S)[0]:
                arrived += len(os.read(up_reader, workers))
        os.write(go_writer, b"." * workers)
        for future in starting:
            future.result()
    except Exception as error:
        raise _did_not_start(error) from error
    finally:
        futures.wait(starting)  # nobody may still wait on a pipe that is closed
        for end in (up_reader, up_writer, go_reader, go_writer):
            os.close(end)


def _meet(up: int, go: int) -> None:
    os.write(up, b".")
    os.read(go, 1)


def _did_not_start(error: BaseException) -> ExecutorUnavailableError:
    return ExecutorUnavailableError(
        f"a subinterpreter did not start: {describe_exception(error)}",
        place="executor interpreters",
        remedy="every module that the processor imports must support subinterpreters, and the "
        "processor must be importable (not defined in __main__) and must pickle; otherwise use "
        "threads or processes",
    )


# In the worker. A subinterpreter runs one batch at a time, so these belong to its only thread.
_worker: Worker


def _begin(processor: bytes, keep_rows: bool, path: list[str]) -> None:
    global _worker  # noqa: PLW0603 - a pool's initializer has nowhere else to put it
    sys.path[:] = path  # before the processor is unpickled, which may need it
    current = importlib.import_module("concurrent.interpreters").get_current()
    mine = pickle.loads(processor)  # noqa: S301 - our own
    _worker = Worker(mine, f"interpreter-{current.id}", "interpreter", keep_rows=keep_rows)


def _work(batch: Batch) -> ProcessingResult:
    return _worker.work(batch)
