"""What `processes` and `interpreters` share: batches through a `concurrent.futures.Executor`.

    batches ──► submit (at most `window` not yet taken) ──► workers ──► done (queue) ──► caller

The caller's thread owns the feed and the table of what is pending; workers reach it only through
`done`, a `SimpleQueue` that futures put themselves into.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from queue import SimpleQueue

from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result

Submit = Callable[[Batch], "Future[ProcessingResult]"]
IN_FLIGHT_PER_WORKER = 3


class PoolBrokenError(Exception):
    """The pool lost a worker, and these batches with it; never leaves the executor."""

    def __init__(self, lost: list[Batch]) -> None:
        super().__init__(f"{len(lost)} batches lost")
        self.lost = lost


def run_futures(
    submit: Submit, batches: Iterator[Batch], window: int, processor_id: str
) -> Iterator[ProcessingResult]:
    """Yield a result a batch as they finish. Raises PoolBrokenError with those that did not."""
    done: SimpleQueue[Future[ProcessingResult]] = SimpleQueue()
    pending: dict[Future[ProcessingResult], Batch] = {}
    lost: list[Batch] = []
    exhausted = False
    while True:
        while not exhausted and not lost and len(pending) < window:
            batch = next(batches, None)
            if batch is None:
                exhausted = True
                break
            try:
                future = submit(batch)
            except BrokenExecutor:
                lost.append(batch)
                break
            pending[future] = batch
            future.add_done_callback(done.put)
        if not pending:
            break
        future = done.get()
        batch = pending.pop(future)
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            lost.append(batch)
        elif error is not None:  # it could not be sent there or back
            yield failed_result(processor_id, batch, describe_exception(error))
        else:
            yield future.result()
    if lost:
        raise PoolBrokenError(lost)


def in_order_of_index(batches: Iterable[Batch]) -> list[Batch]:
    """Lost batches in the order in which they came in."""
    return sorted(batches, key=lambda batch: batch.index)
