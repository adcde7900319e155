"""`sequential`: one batch after the other in the calling thread. What every speed-up is against."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from todobatch.executors.base import Capabilities, Executor, Run, work
from todobatch.model import Batch, ProcessingResult
from todobatch.processors.base import TaskBatchProcessor


class Sequential(Executor):
    """Runs each batch in the calling thread. `workers` is accepted and makes no difference."""

    name = "sequential"
    summary = "one batch after the other in one thread"

    @property
    def capabilities(self) -> Capabilities:
        """It isolates nothing and copies nothing."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=False,
            awaits=False,
            cpu_parallel=False,
        )

    @contextmanager
    def open(
        self, processor: TaskBatchProcessor, workers: int = 1, *, keep_rows: bool = False
    ) -> Iterator[Run]:
        """See `Executor.open`."""
        self.check(workers)

        def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
            for batch in batches:
                yield work(processor, batch, "main", keep_rows=keep_rows)

        yield run
