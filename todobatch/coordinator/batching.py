"""Makes batches from a stream of tasks, and checks batches that a caller made."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from todobatch.coordinator.options import DEFAULT_BATCH_SIZE
from todobatch.coordinator.ranges import Ranges
from todobatch.errors import UsageError
from todobatch.model import Batch, Task


def batched(tasks: Iterable[Task], size: int = DEFAULT_BATCH_SIZE) -> Iterator[Batch]:
    """Yield the tasks of a stream in batches of `size` tasks; the last may be smaller.

    Raises UsageError for a size below 1.
    """
    if size < 1:
        raise UsageError(
            f"a batch cannot have {size} tasks", place="`batch_size`", remedy="give 1 or more"
        )
    feed = iter(tasks)
    index = 0
    while chunk := tuple(islice(feed, size)):
        yield Batch(index, chunk, index * size)
        index += 1


def as_batches(tasks: Iterable[Task] | Iterable[Batch], size: int) -> tuple[Iterator[Batch], bool]:
    """Return the batches of a stream, and whether the caller made them.

    Reads the first item of the stream. Ready-made batches are checked as they are read.
    """
    feed: Iterator[Any] = iter(tasks)
    first = list(islice(feed, 1))
    ready_made = bool(first) and isinstance(first[0], Batch)
    whole = chain(first, feed)
    return (_checked(whole) if ready_made else batched(whole, size)), ready_made


def _checked(batches: Iterator[Any]) -> Iterator[Batch]:
    """Yield the batches. Raises UsageError for an index that is negative or occurs twice."""
    seen = Ranges()
    for batch in batches:
        if not isinstance(batch, Batch):
            raise _not_batches(f"an item of type {type(batch).__name__} came after batches")
        if not isinstance(batch.index, int) or batch.index < 0:
            raise _not_batches(f"a batch has the index {batch.index!r}")
        try:
            seen.add(batch.index)
        except ValueError:
            raise _not_batches(f"two batches have the index {batch.index}") from None
        yield batch


def _not_batches(cause: str) -> UsageError:
    return UsageError(
        cause,
        place="`tasks`",
        remedy="number the batches 0, 1, 2, … as `todobatch.batched` does; or pass tasks",
    )
