"""How many workers `elastic` lets work: its decisions on made-up rates, and its gate for real."""

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from todobatch import Task, TaskBatchProcessor
from todobatch.coordinator import batched
from todobatch.executors import get
from todobatch.executors.base import stats_of
from todobatch.executors.elastic import LEAST_HOLD, Sizer
from todobatch.sources.generator import generate


def sizes(rate: Callable[[int], float], windows: int, *, most: int, least: int = 1) -> list[int]:
    """The size in each window, where the rate follows the size alone."""
    sizer = Sizer(least, most)
    return [sizer.window(rate(sizer.size)) for _ in range(windows)]


def test_it_climbs_to_the_most_where_every_worker_brings_its_share() -> None:
    seen = sizes(lambda n: 100.0 * n, 60, most=100)
    assert seen[-1] == 100
    assert seen.index(100) < 40


def test_it_settles_where_more_bring_nothing() -> None:
    seen = sizes(lambda n: 100.0 * min(n, 2), 400, most=8)
    assert set(seen) == {1, 2, 3}  # it tries what lies beside it ...
    assert seen[100:].count(2) > 0.9 * len(seen[100:])  # ... ever more seldom


def test_it_stays_at_one_where_more_get_in_each_others_way() -> None:
    seen = sizes(lambda n: 100.0 / n, 400, most=8)
    assert set(seen) == {1, 2}
    assert seen[50:].count(1) > 0.8 * len(seen[50:])


@pytest.mark.parametrize("least", [1, 3])
def test_it_never_leaves_its_bounds(least: int) -> None:
    for rate in (lambda n: 10.0 * n, lambda n: 10.0 / n, lambda _: 0.0):
        assert all(least <= size <= 5 for size in sizes(rate, 200, most=5, least=least))


def test_it_follows_a_load_that_changes() -> None:
    sizer = Sizer(1, 8)
    for _ in range(100):
        sizer.window(100.0 * min(sizer.size, 8))
    assert sizer.size == 8
    for _ in range(300):  # now one worker does as well as any number
        sizer.window(100.0)
    assert sizer.size <= 3


def test_a_trial_that_does_not_pay_is_put_off_longer_each_time() -> None:
    seen = sizes(lambda _: 100.0, 300, most=2)
    trials = [at for at, size in enumerate(seen) if size == 2]
    gaps = [b - a for a, b in pairwise(trials) if b - a > 1]
    assert gaps == sorted(gaps)
    assert gaps[0] >= LEAST_HOLD
    assert gaps[-1] > 4 * gaps[0]


def test_a_stall_lets_more_work() -> None:
    sizer = Sizer(1, 4)
    assert [sizer.stalled() for _ in range(4)] == [2, 3, 4, 4]


class Together(TaskBatchProcessor):
    """Each task waits until two are under way: it needs a second worker, and so a stall's help."""

    name = "together"

    def __init__(self) -> None:
        super().__init__()
        self.barrier = threading.Barrier(2)

    def process_task(self, task: Task) -> int:
        self.barrier.wait(60)
        return task.priority


def test_batches_that_wait_for_each_other_meet_all_the_same() -> None:
    with get("elastic").open(Together(), 3) as run:
        results = list(run(batched(generate(2), 1)))
        stats = stats_of(run)
    assert [result.success for result in results] == [True, True]
    assert stats[0].parkings == 0
    assert stats[2].parkings >= 1
    assert stats[2].parked_s > 0
