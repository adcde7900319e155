"""Sends the most urgent or the longest batches first, within a window."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from todobatch.coordinator.options import Order
from todobatch.errors import UsageError
from todobatch.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, Batch
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs

WINDOW_TASKS = 10_000
"""This many tasks are read ahead to find the urgent or the long batches among them."""
MOST_PASSED_WINDOWS = 4
"""A batch is sent next when later batches with this many windows of tasks have overtaken it."""


def in_order(batches: Iterator[Batch], order: Order, costs: "Costs | None") -> Iterator[Batch]:
    """Return the batches in the order with this name.

    Raises UsageError for an unknown order, and for `longest` without costs.
    """
    if order == "input":
        return batches
    if order == "priority":
        return urgent_first(batches)
    if order != "longest":
        raise UsageError(
            f"unknown order {order!r}", place="`order`", remedy="choose input, priority or longest"
        )
    if costs is None:
        raise UsageError(
            "it is not known how long the batches take",
            place='`order="longest"`',
            remedy="pass `costs`: the first run with it measures the batches, and later runs use "
            "what it measured",
        )
    return longest_first(batches, costs.known)


def urgent_first(
    batches: Iterable[Batch], window_tasks: int = WINDOW_TASKS, most_passed: int | None = None
) -> Iterator[Batch]:
    """Yield all batches, each time the most urgent one in the window.

    A batch with more open tasks of priority 1 is more urgent; then those of priority 2 count, and
    so on. Equal batches keep their order.

    The window holds at least two batches, and is filled until they have `window_tasks` tasks. A
    batch is sent next when later batches with `most_passed` tasks (4 windows by default) have
    overtaken it, so no batch waits without end.
    """
    return _best_first(batches, _urgency, window_tasks, most_passed)


def longest_first(
    batches: Iterable[Batch],
    costs: Mapping[int, Seconds],
    window_tasks: int = WINDOW_TASKS,
    most_passed: int | None = None,
) -> Iterator[Batch]:
    """Yield all batches, always the longest one of the window next.

    `costs` maps a batch's index to its seconds. A batch that it does not contain is sent first,
    because it may be long. Equal batches keep their order. For the window and `most_passed` see
    `urgent_first`.

    When the window holds all batches, the run takes at most 4/3 - 1/(3 × workers) times the
    shortest possible time (R. L. Graham, "Bounds on multiprocessing timing anomalies", 1969).
    """
    return _best_first(
        batches, lambda batch: -costs.get(batch.index, inf), window_tasks, most_passed
    )


def _best_first(
    batches: Iterable[Batch],
    key: Callable[[Batch], Any],
    window_tasks: int,
    most_passed: int | None,
) -> Iterator[Batch]:
    """Yield all batches, each time the one in the window with the least key."""
    limit = MOST_PASSED_WINDOWS * window_tasks if most_passed is None else most_passed
    feed = enumerate(batches)
    waiting: dict[int, tuple[Batch, int]] = {}  # by place, with the number of tasks before it
    heap: list[tuple[Any, int]] = []
    read = sent = 0
    more = True
    while True:
        while more and (read - sent < window_tasks or len(waiting) < 2):
            place, batch = next(feed, (-1, None))
            if batch is None:
                more = False
            else:
                waiting[place] = batch, read
                read += _size(batch)
                heapq.heappush(heap, (key(batch), place))
        if not waiting:
            return
        oldest = next(iter(waiting))
        if sent - waiting[oldest][1] >= limit:
            chosen = oldest
            if len(heap) > 2 * len(waiting):  # remove batches that were sent as the oldest
                heap = [entry for entry in heap if entry[1] in waiting]
                heapq.heapify(heap)
        else:
            while heap[0][1] not in waiting:
                heapq.heappop(heap)  # it was sent as the oldest
            chosen = heapq.heappop(heap)[1]
        batch, _ = waiting.pop(chosen)
        sent += _size(batch)
        yield batch


def _size(batch: Batch) -> int:
    return max(len(batch), 1)  # an empty batch counts as one task


def _urgency(batch: Batch) -> tuple[int, ...]:
    counts = [0] * LOWEST_PRIORITY
    for task in batch.tasks:
        if not task.done and HIGHEST_PRIORITY <= task.priority <= LOWEST_PRIORITY:
            counts[task.priority - HIGHEST_PRIORITY] -= 1
    return tuple(counts)
