"""Every executor records how long its workers were busy and idle."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import contract_work
import pytest

from todobatch.executors import (
    EXECUTORS,
    Executor,
    WorkerStats,
    Wrapped,
    stats_of,
)
from todobatch.model import Batch, ProcessingResult, Task

Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]


def test_what_each_worker_did_is_recorded(executor: Executor, titled: Titled) -> None:
    with executor.open(contract_work.Picky(), 3) as run:
        assert stats_of(run) == ()
        for count in (50, 1):  # each run has its own account
            begun = perf_counter()
            results = list(run(titled([["a"]] * count)))
            outside = perf_counter() - begun
            check_stats(executor, results, stats_of(run), outside)


def check_stats(
    executor: Executor,
    results: Sequence[ProcessingResult],
    stats: Sequence[WorkerStats],
    outside: float,
) -> None:
    """Check that busy time covers the batches, and that the times add up to the run's time."""
    tiny = 1e-6
    by_worker: dict[str, float] = dict.fromkeys((each.worker for each in stats), 0.0)
    for result in results:
        by_worker[result.seen.worker] += result.duration
    if not isinstance(executor, Wrapped):  # which knows those only that gave a result
        assert len(stats) == (1 if executor.name in {"sequential", "scripted"} else 3)
    workers = {result.seen.worker for result in results}
    inside = max(r.started + r.duration for r in results) - min(r.started for r in results)
    for each in stats:
        whole = each.busy_s + each.idle_s + each.parked_s
        assert by_worker[each.worker] - tiny <= each.busy_s <= whole
        assert inside - tiny <= whole <= outside + tiny
        assert each.busy_s == 0 or each.worker in workers
        assert min(each.idle_s, each.parked_s) >= 0
        assert each.efficiency == pytest.approx(each.busy_s / whole)
        assert each.stolen >= each.steals >= 0


def test_a_worker_that_dies_and_its_replacement_have_statistics_each(titled: Titled) -> None:
    titles = [[f"{n}"] for n in range(30)]
    titles[11] = ["kill"]
    with EXECUTORS["processes"].open(contract_work.Picky(), 2) as run:
        begun = perf_counter()
        results = list(run(titled(titles)))
        outside = perf_counter() - begun
        stats = {each.worker: each for each in stats_of(run)}
    assert len(stats) == 3
    assert {result.seen.worker for result in results if result.success} <= set(stats)
    assert all(each.busy_s + each.idle_s <= outside for each in stats.values())


def test_a_worker_without_a_stock_steals_from_another(tmp_path: Path) -> None:
    """Two batches in one worker's stock wait for each other, so another worker must steal one."""
    batches = [Batch(n, (Task(str(tmp_path), priority=n),), n) for n in range(2)]
    with EXECUTORS["stealing"].open(contract_work.Meeting(), 2) as run:
        assert all(result.success for result in run(batches))
        stats = stats_of(run)
    assert sum(each.steals for each in stats) == 1
    assert sum(each.stolen for each in stats) == 1
