"""`elastic` chooses how many workers work: its decisions on made-up rates, and real runs."""

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from todobatch import ProcessingResult, Recovery, Task, TaskBatchProcessor, batched, run_batches
from todobatch.errors import UsageError
from todobatch.executors import Elastic, get, resizes_of, stats_of
from todobatch.executors.base import MOST_RESIZES_KEPT
from todobatch.executors.elastic import LEAST_HOLD, Sizer, _Elastic
from todobatch.sources.generator import generate


def sizes(rate: Callable[[int], float], windows: int, *, most: int, least: int = 1) -> list[int]:
    """Return the size in each window, if the rate depends on the size alone."""
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
    """Finishes a task when two run at once, so one worker alone would stall."""

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
        resizes = resizes_of(run)
    assert [result.success for result in results] == [True, True]
    assert stats[0].parkings == 0
    assert stats[2].parkings >= 1
    assert stats[2].parked_s > 0
    # The second worker came because nothing came back: there was no rate.
    assert [(each.size, each.rate) for each in resizes[:2]] == [(1, None), (2, None)]
    assert 0.0 == resizes[0].at_s < resizes[1].at_s


def test_they_meet_even_if_another_thread_keeps_a_cpu_busy() -> None:
    met = threading.Event()

    def spin() -> None:
        while not met.is_set():
            pass

    busy = threading.Thread(target=spin)
    busy.start()
    try:
        with get("elastic").open(Together(), 2) as run:
            results = list(run(batched(generate(2), 1)))
    finally:
        met.set()
        busy.join()
    assert [result.success for result in results] == [True, True]


def test_at_least_the_given_number_of_workers_work() -> None:
    with Elastic(2).placed("none").open(Together(), 3) as run:
        results = list(run(batched(generate(2), 1)))  # they meet at once: two work from the start
        resizes, stats = resizes_of(run), stats_of(run)
    assert all(result.success for result in results)
    assert [each.size for each in resizes] == [2]
    assert [each.parkings for each in stats[:2]] == [0, 0]


@pytest.mark.parametrize(("least", "most"), [(0, 3), (4, 3), (-1, 1)])
def test_an_invalid_range_of_workers_is_refused(least: int, most: int) -> None:
    with pytest.raises(UsageError, match=f"from {least} to {most} workers is not a range"):
        Elastic(least).check(most)


def test_each_resize_is_data_with_the_rate_that_led_to_it() -> None:
    job = _Elastic(iter(()), 8, 1)
    job._resize(2, 100.0)
    job._resize(2, 120.0)  # no change, no entry
    job._resize(3, 150.0)
    seen = job.resizes()
    assert [(each.size, each.rate) for each in seen] == [(1, None), (2, 100.0), (3, 150.0)]
    assert sorted(each.at_s for each in seen) == [each.at_s for each in seen]
    for n in range(MOST_RESIZES_KEPT):
        job._resize(4 + n % 2, 10.0)
    kept = job.resizes()
    assert len(kept) == MOST_RESIZES_KEPT
    assert (kept[0].size, kept[1].size, kept[-1].size) == (1, 5, 5)


def test_the_report_has_them_in_the_runs_own_time() -> None:
    """The run has two rounds, and in each the pool begins anew."""

    class FailsOnce(TaskBatchProcessor):
        name = "fails-once"
        runs = 0

        def process_batch(self, tasks: object) -> ProcessingResult:
            FailsOnce.runs += 1
            if FailsOnce.runs == 1:
                raise MemoryError
            return super().process_batch(tasks)  # type: ignore[arg-type]

        def process_task(self, task: Task) -> str:
            return task.title

    report = run_batches(
        [Task("a")], FailsOnce(), executor=Elastic(2), workers=3, recovery=Recovery(backoff_s=0.01)
    )
    assert report.retried == 1
    assert [each.size for each in report.resizes] in ([2, 2], [2])
    assert all(0 <= each.at_s <= report.wall_s for each in report.resizes)
    assert run_batches([Task("a")], "validate", executor="threads").resizes == ()
