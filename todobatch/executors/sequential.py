"""`sequential`: one batch after the other in the calling thread; speed-ups are relative to it."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from todobatch.executors.base import BatchRunner, Capabilities, Executor
from todobatch.executors.stats import CountedRunner, WorkerStats
from todobatch.executors.worker import Worker, own_context
from todobatch.model import Batch, ProcessingResult
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds


class Sequential(Executor):
    """Runs each batch in the calling thread; the number of workers makes no difference."""

    name = "sequential"
    no_deadline = "the thread that would stop a batch is the one that runs it"
    summary = "one batch after the other in one thread"

    @property
    def capabilities(self) -> Capabilities:
        """Return what the executor can do; it isolates nothing and copies nothing."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=False,
            awaits=False,
            cpu_parallel=False,
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int = 1,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """Open the executor, which starts nothing; see `Executor.open`."""
        self.check(workers, deadline_s)

        worker = Worker(processor, "main", "main", keep_rows=keep_rows)
        context = own_context()

        def run(
            batches: Iterable[Batch],
        ) -> Generator[ProcessingResult, None, tuple[WorkerStats, ...]]:
            busy = 0.0
            first = perf_counter()
            for batch in batches:
                begun = perf_counter()
                result = context.run(worker.work, batch)
                busy += perf_counter() - begun
                yield result
            return (WorkerStats(worker.label, busy, perf_counter() - first - busy),)

        yield CountedRunner(run)
