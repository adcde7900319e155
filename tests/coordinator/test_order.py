"""The orders `priority` and `longest`: which batches run first, and what that gains.

Time is simulated: the executor computes when each batch would be done.
"""

import json
import tracemalloc
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coordinator.made_up import Virtual, as_if_failed, cut, named, run
from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, batched, run_batches
from todobatch.coordinator.costs import Costs
from todobatch.coordinator.options import Order
from todobatch.coordinator.order import longest_first, urgent_first
from todobatch.errors import UsageError
from todobatch.model import Batch, BatchReport, ProcessingResult
from todobatch.testing import FOR_EVER, Scripted


def test_the_longest_go_first_unknown_ones_before_all_and_equals_in_their_order() -> None:
    out = longest_first(cut([1] * 6), {0: 1.0, 1: 5.0, 3: 0.0, 4: 5.0})
    assert [batch.index for batch in out] == [2, 5, 1, 4, 0, 3]


def test_a_starving_batch_goes_out_although_longer_ones_never_end() -> None:
    endless = (Batch(n, (Task(str(n)),), n) for n in count())
    out = islice(longest_first(endless, {0: 0.0}, 4), 40)
    assert [batch.index for batch in out].index(0) == 16


class MostlyHigh(dict[int, float]):
    """Maps a batch to its cost; one cost in twenty is low."""

    def get(self, index: int, default: object = None) -> float:
        return float(index % 20 > 0)


@pytest.mark.thread_unsafe(reason="tracemalloc counts what all threads take")
def test_an_endless_stream_of_batches_that_starve_needs_no_more_memory() -> None:
    """One batch in twenty is sent only because it has waited long enough."""

    def held(most: int) -> int:
        tracemalloc.start()
        try:
            endless = (Batch(n, (), n) for n in count())
            ordered = longest_first(endless, MostlyHigh(), 4)
            deque(islice(ordered, most), maxlen=0)
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    held(100)
    assert held(20_000) < 2 * held(200)


@given(
    sizes=st.lists(st.integers(0, 9), max_size=60),
    costs=st.dictionaries(st.integers(0, 60), st.floats(0, 100)),
    window=st.integers(1, 30),
    passed=st.none() | st.integers(0, 60),
    urgent=st.booleans(),
)
def test_windows_and_bounds_are_in_tasks_whatever_the_batches_sizes(
    sizes: list[int], costs: dict[int, float], window: int, passed: int | None, urgent: bool
) -> None:
    batches = cut(sizes)
    weights = [max(size, 1) for size in sizes]
    read = 0

    def feed() -> Iterator[Batch]:
        nonlocal read
        for batch in batches:
            read += weights[batch.index]
            yield batch

    ordered = (
        urgent_first(feed(), window, passed)
        if urgent
        else longest_first(feed(), costs, window, passed)
    )
    widest = max(weights, default=0)
    limit = 4 * window if passed is None else passed
    out: list[int] = []
    given_out = 0
    for batch in ordered:
        assert read - given_out <= max(window + widest - 1, 2 * widest), "what is held"
        assert given_out <= sum(weights[: batch.index]) + limit + widest - 1, "none starves"
        given_out += weights[batch.index]
        out.append(batch.index)
    assert sorted(out) == list(range(len(sizes)))


def test_the_window_is_the_batches_own_whatever_the_batch_size_says() -> None:
    """Two batches of 5,000 tasks fill the window, so the third is not read yet."""
    batches = [Batch(n, (Task(f"{n}", 10 - n),) * 5000, 5000 * n) for n in range(3)]
    seen: list[int] = []
    run_batches(
        batches, Flaky(), executor="sequential", order="priority", batch_size=1,
        hooks=Hooks(on_result=lambda result: seen.append(result.batch)),
    )  # fmt: skip
    assert seen == [1, 2, 0]


def makespan(batches: Iterable[Batch], takes: Sequence[float], workers: int) -> float:
    executor = Virtual(dict(enumerate(takes)))
    run_batches(batches, Flaky(), executor=executor, workers=workers)
    return executor.makespan


@settings(deadline=None)
@given(
    takes=st.lists(st.integers(1, 20).map(float), min_size=1, max_size=6),
    workers=st.integers(1, 3),
)
def test_longest_first_keeps_grahams_bound(takes: list[float], workers: int) -> None:
    batches = cut([1] * len(takes))
    found = makespan(longest_first(batches, dict(enumerate(takes))), takes, workers)
    best = min(
        max(
            sum(time for time, place in zip(takes, places, strict=True) if place == worker)
            for worker in range(workers)
        )
        for places in product(range(workers), repeat=len(takes))
    )
    assert best <= found <= best * (4 / 3 - 1 / (3 * workers)) + 1e-9


def test_costs_of_one_run_make_the_next_one_shorter(tmp_path: Path) -> None:
    takes = [1.0] * 19 + [10.0]
    path = tmp_path / "costs.json"
    reports: list[tuple[float, BatchReport]] = []
    for order in ("longest", "longest", "input"):  # in the first one nothing is known yet
        executor = Virtual(dict(enumerate(takes)))
        with Costs(path) as costs:
            report = run_batches(
                cut([3] * 20), Flaky(), executor=executor, workers=2, order=order, costs=costs
            )
        assert sorted(executor.order) == list(range(20))
        reports.append((executor.makespan, report))
    assert [span for span, _ in reports] == [19.0, 15.0, 19.0]  # 29 s of work for two
    assert len({report.digest for _, report in reports}) == 1
    assert len({json.dumps(dict(report.result), sort_keys=True) for _, report in reports}) == 1


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[int], set[int], dict[int, int]]:
    """Draw sizes of batches, tasks that raise, and tasks that break up to N times."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=12))
    places = st.integers(0, sum(sizes) - 1)
    often = st.sampled_from([1, 2, 3, 5, FOR_EVER])
    bad = draw(st.sets(places, max_size=4))
    return sizes, bad, draw(st.dictionaries(places, often, max_size=5))


WAYS = ("input", "priority", "longest", "urgent window", "longest window")


@settings(max_examples=300, deadline=None)
@given(
    job=jobs(),
    way=st.sampled_from(WAYS),
    known=st.dictionaries(st.integers(0, 11), st.floats(0, 10), max_size=12),
    window=st.integers(1, 12),
    retries=st.integers(0, 3),
    retry_failed=st.booleans(),
    seed=st.integers(0, 1000),
    holds=st.integers(1, 6),
    loses=st.booleans(),
)
def test_each_task_is_there_once_for_any_mix_of_sizes_failures_retries_and_orders(
    tmp_path_factory: pytest.TempPathFactory,
    job: tuple[list[int], set[int], dict[int, int]],
    way: str,
    known: dict[int, float],
    window: int,
    retries: int,
    retry_failed: bool,
    seed: int,
    holds: int,
    loses: bool,
) -> None:
    sizes, bad, breaks = job
    batches = cut(sizes, bad)
    titles = [task.title for batch in batches for task in batch.tasks]
    executor = Scripted(
        {titles[n]: often for n, often in breaks.items()}, seed=seed, holds=holds, loses=loses
    )
    feed: Iterable[Batch] = batches
    order: Order = "input"
    costs = Costs(tmp_path_factory.getbasetemp() / "never-written.json")
    costs.known.update(known)
    match way:
        case "urgent window":
            feed = urgent_first(batches, window)
        case "longest window":
            feed = longest_first(batches, known, window)
        case "priority" | "longest":
            order = way
    seen: list[tuple[Batch, ProcessingResult]] = []
    report = run_batches(
        feed, Flaky(), executor=executor, order=order, costs=costs, keep_rows=True,
        recovery=Recovery(retries, 0.0, retry_failed),
        hooks=Hooks(on_batch=lambda batch, result: seen.append((batch, result))),
    )  # fmt: skip

    assert Counter(batch.index for batch, _ in seen) == Counter(range(len(sizes)))
    rows: dict[int, object] = {}
    failed: set[int] = set()
    for batch, result in seen:
        assert batch == batches[batch.index] == batches[result.batch]
        assert result.rows is not None
        failed |= {failure.task for failure in result.failures}
        for place, row in zip(count(batch.first), result.rows, strict=False):
            assert place not in rows
            rows[place] = row
    assert rows == {n: None if n in failed else title for n, title in enumerate(titles)}
    aside = {failure.task for failure in report.set_aside_tasks}
    assert failed == aside | bad
    assert {n for n, often in breaks.items() if often == FOR_EVER} <= aside <= set(breaks)
    # The whole is what it is in the input's order, had those tasks failed by themselves.
    expected = run_batches(cut(sizes, bad | aside), Flaky(), executor="sequential")
    assert (report.digest, report.result) == (expected.digest, expected.result)
    assert (report.tasks, report.failed) == (sum(sizes), len(failed))
    assert costs.measured <= len(sizes)


def of(*priorities: int) -> list[Batch]:
    return list(batched((Task(str(n), p) for n, p in enumerate(priorities)), 1))


def test_urgent_batches_go_first_and_equals_in_their_order() -> None:
    assert [b.index for b in urgent_first(of(5, 1, 3, 1, 10), 5)] == [1, 3, 2, 0, 4]
    # Only the next two are looked at, though their tasks are more than asked for.
    assert [b.index for b in urgent_first(of(5, 4, 3, 2, 1), 1)] == [1, 2, 3, 4, 0]
    assert [b.index for b in urgent_first(of(5, 4, 3, 2, 1), 2)] == [1, 2, 3, 4, 0]
    batches = [
        Batch(0, (Task("a", 1), Task("b", 9))),
        Batch(1, (Task("c", 1), Task("d", 2))),
        Batch(2, (Task("e", 1, done=True), Task("f", 1, done=True))),
    ]
    assert [b.index for b in urgent_first(batches, 3)] == [1, 0, 2]


@given(
    priorities=st.lists(st.integers(1, 10), max_size=80),
    window=st.integers(1, 9),
    passed=st.integers(0, 20),
)
def test_no_batch_starves_and_none_is_lost(priorities: list[int], window: int, passed: int) -> None:
    out = [batch.index for batch in urgent_first(of(*priorities), window, passed)]
    assert sorted(out) == list(range(len(priorities)))
    for place, index in enumerate(out):
        assert index < place + max(window, 2), "no more than the window is read ahead"
        assert place <= index + passed, "the bound that is documented"


def test_a_starving_batch_goes_out_although_urgent_ones_never_end() -> None:
    feed = urgent_first(batched((Task(str(n), 10 if n == 0 else 1) for n in count()), 1), 4)
    places = [batch.index for batch in islice(feed, 40)]
    assert places.index(0) == 16


@pytest.mark.parametrize("seed", range(5))
def test_order_changes_no_result(seed: int) -> None:
    tasks = named(60, {7})
    executor = Scripted({"task 30": FOR_EVER, "task 41": 1}, seed=seed)
    report, seen = run(tasks, executor, 4, order="priority")
    assert report.digest == as_if_failed(tasks, {30}, 4).digest
    assert sorted(batch.index for batch, _ in seen) == list(range(15))


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown order 'magic'"):
        run_batches([Task("a")], "validate", executor="sequential", order="magic")  # type: ignore[arg-type]
