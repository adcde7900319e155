"""`sequential`: one batch after the other in the calling thread; speed-ups are relative to it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from todobatch.executors.base import BatchRunner, Capabilities, Executor, Opening
from todobatch.executors.stats import CountedResults, CountedRunner, WorkerStats
from todobatch.executors.worker import own_context
from todobatch.model import Batch


class Sequential(Executor):
    """Runs each batch in the calling thread; the number of workers makes no difference."""

    name = "sequential"
    no_deadline = "the thread that would stop a batch is the one that runs it"
    summary = "one batch after the other in one thread"
    capabilities = Capabilities()

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start nothing, because the caller's thread is the worker."""
        worker = opening.worker("main", "main")
        context = own_context()

        def run(batches: Iterable[Batch]) -> CountedResults:
            busy = 0.0
            first = perf_counter()
            for batch in batches:
                begun = perf_counter()
                result = context.run(worker.work, batch)
                busy += perf_counter() - begun
                yield result
            return (WorkerStats(worker.label, busy, perf_counter() - first - busy),)

        yield CountedRunner(run)
