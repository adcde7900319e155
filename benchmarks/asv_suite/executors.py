"""The asv suite: time, efficiency and memory of each executor, and its overhead for each batch.

Workers are started before a figure is measured, as in `todobatch bench`. An executor that does not
work on an interpreter raises NotImplementedError in `setup`, so asv skips it.
"""

import datetime as dt
import statistics
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from time import perf_counter
from typing import ClassVar

from todobatch import batched, probe, runtime
from todobatch.executors import EXECUTORS, BatchRunner
from todobatch.model import Batch
from todobatch.processors import TaskBatchProcessor, resolve
from todobatch.sources import generate

TODAY = dt.date(2026, 11, 24)
WORKERS = (1, 2, 4, 8)
PARALLEL = ("threads", "interpreters", "processes", "coroutines")
PAIRS = 3


def _batches(tasks: int, size: int) -> list[Batch]:
    return list(batched(generate(tasks, seed=1, today=TODAY), size))


def _consume(run: BatchRunner, batches: Iterable[Batch]) -> int:
    return sum(result.tasks_processed for result in run(batches))


class _WithPool:
    """Opens a pool in `setup` and closes it in `teardown`, outside the timed part."""

    workload: ClassVar[str] = "example8"
    tasks: ClassVar[int] = 1_600
    batch_size: ClassVar[int] = 50
    number = 1
    warmup_time = 0
    timeout = 300

    def setup(self, executor: str, workers: int) -> None:
        if EXECUTORS[executor].available() is not None:
            raise NotImplementedError
        self.batches = _batches(self.tasks, self.batch_size)
        self.stack = ExitStack()
        opened = EXECUTORS[executor].open(self.processor(), workers)
        self.run = self.stack.enter_context(opened)

    def processor(self) -> TaskBatchProcessor:
        return resolve(self.workload, today=TODAY)

    def teardown(self, executor: str, workers: int) -> None:
        del executor, workers
        if hasattr(self, "stack"):
            self.stack.close()


class Example8(_WithPool):
    """The workload `example8`: time, efficiency and peak memory of each executor."""

    params = (PARALLEL, WORKERS)
    param_names: ClassVar[list[str]] = ["executor", "workers"]

    def time_batches(self, executor: str, workers: int) -> None:
        del executor, workers
        _consume(self.run, self.batches)

    def track_efficiency(self, executor: str, workers: int) -> float:
        """Return the speed-up over an interleaved sequential run ÷ min(workers, CPUs)."""
        del executor
        with EXECUTORS["sequential"].open(self.processor(), 1) as sequential:
            ratios = [
                _seconds(sequential, self.batches) / _seconds(self.run, self.batches)
                for _ in range(PAIRS)
            ]
        return statistics.median(ratios) / min(workers, runtime.cpus_available())

    track_efficiency.unit = "ratio"  # type: ignore[attr-defined]

    def track_peak_bytes(self, executor: str, workers: int) -> int:
        """Return the peak memory of the process tree after one pass."""
        del executor, workers
        _consume(self.run, self.batches)
        return probe.tree_peak()[0]

    track_peak_bytes.unit = "bytes"  # type: ignore[attr-defined]


class Sequential(_WithPool):
    """The reference that the other executors are compared with."""

    params = (("sequential",), (1,))
    param_names: ClassVar[list[str]] = ["executor", "workers"]

    def time_example8(self, executor: str, workers: int) -> None:
        del executor, workers
        _consume(self.run, self.batches)


class Overhead(_WithPool):
    """The overhead of an executor: seconds per batch of one task that does nothing."""

    params = (("sequential", *PARALLEL), (1, 2))
    param_names: ClassVar[list[str]] = ["executor", "workers"]
    tasks = 2_000
    batch_size = 1

    def processor(self) -> TaskBatchProcessor:
        # A call that costs nothing and that every worker can import.
        return resolve("builtins:bool", today=TODAY)

    def track_seconds_a_batch(self, executor: str, workers: int) -> float:
        del executor, workers
        return _seconds(self.run, self.batches) / len(self.batches)

    track_seconds_a_batch.unit = "s"  # type: ignore[attr-defined]


class Start:
    """The time to start the workers and to end them."""

    params = (PARALLEL, (2, 8))
    param_names: ClassVar[list[str]] = ["executor", "workers"]
    number = 1
    timeout = 300

    def setup(self, executor: str, workers: int) -> None:
        del workers
        if EXECUTORS[executor].available() is not None:
            raise NotImplementedError
        self.processor = resolve("validate", today=TODAY)

    def time_start_and_end(self, executor: str, workers: int) -> None:
        with EXECUTORS[executor].open(self.processor, workers):
            pass


def timeraw_import_todobatch() -> str:
    """Time what a worker imports, in a fresh interpreter."""
    return "import todobatch.coordinator.drive"


def _seconds(run: BatchRunner, batches: Iterable[Batch] | Iterator[Batch]) -> float:
    started = perf_counter()
    _consume(run, batches)
    return perf_counter() - started
