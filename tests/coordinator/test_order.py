"""Orders other than the input's: what goes out when, what longest first gains, what is kept of it.

Time is made up here: an executor that only keeps books says when each batch would be done.
"""

import heapq
import json
import tracemalloc
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, product
from math import nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flaky import Flaky
from todobatch import Task, run_batches
from todobatch.coordinator import Hooks, Order, Recovery, batched, longest_first, urgent_first
from todobatch.coordinator.costs import MOST_BATCHES, Costs
from todobatch.coordinator.journal import Journal
from todobatch.errors import NewerSchemaError, StoreError, TodobatchError, UsageError
from todobatch.executors import Executor
from todobatch.executors.base import BatchRunner, Capabilities
from todobatch.executors.worker import Worker
from todobatch.model import Batch, BatchReport, ProcessingResult
from todobatch.processors import TaskBatchProcessor
from todobatch.testing import FOR_EVER, Scripted


@dataclass
class Virtual(Executor):
    """Workers that are busy for as long as `takes` says, on a clock that runs in no time."""

    takes: Mapping[int, float]
    makespan: float = 0.0
    """When the last worker was done."""
    order: list[int] = field(default_factory=list)

    name = "virtual"
    summary = "made-up time"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            isolates_crashes=True, enforces_deadlines=False, needs_pickling=False, awaits=False,
            cpu_parallel=True,
        )  # fmt: skip

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: float | None = None,
    ) -> Iterator[BatchRunner]:
        worker = Worker(processor, "virtual-1", "main", keep_rows=keep_rows)

        def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
            feed, now, more = iter(batches), 0.0, True
            busy: list[tuple[float, int, Batch]] = []
            while more or busy:
                while more and len(busy) < workers:
                    batch = next(feed, None)
                    more = batch is not None
                    if batch is not None:
                        self.order.append(batch.index)
                        heapq.heappush(busy, (now + self.takes[batch.index], batch.index, batch))
                if busy:
                    now, index, batch = heapq.heappop(busy)
                    yield replace(worker.work(batch), duration=self.takes[index])
            self.makespan = now

        yield run


def cut(sizes: Sequence[int], bad: Iterable[int] = ()) -> list[Batch]:
    """Batches of these sizes; the tasks in `bad` fail by themselves."""
    batches, first = [], 0
    for index, size in enumerate(sizes):
        tasks = (
            Task(f"bad {n}" if n in bad else f"task {n}", 1 + n % 10)
            for n in range(first, first + size)
        )
        batches.append(Batch(index, tuple(tasks), first))
        first += size
    return batches


# What goes out when -------------------------------------------------------------------------------


def test_the_longest_go_first_unknown_ones_before_all_and_equals_in_their_order() -> None:
    out = longest_first(cut([1] * 6), {0: 1.0, 1: 5.0, 3: 0.0, 4: 5.0})
    assert [batch.index for batch in out] == [2, 5, 1, 4, 0, 3]


def test_a_starving_batch_goes_out_though_longer_ones_never_end() -> None:
    endless = (Batch(n, (Task(str(n)),), n) for n in count())
    out = islice(longest_first(endless, {0: 0.0}, 4), 40)
    assert [batch.index for batch in out].index(0) == 16


class MostlyHigh(dict[int, float]):
    """Costs of which one in twenty is low."""

    def get(self, index: int, default: object = None) -> float:
        return float(index % 20 > 0)


@pytest.mark.thread_unsafe(reason="tracemalloc counts what all threads take")
def test_an_endless_stream_of_batches_that_starve_needs_no_more_memory() -> None:
    """One in twenty goes out only because it has waited long enough."""

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
    """Ready-made batches of 5,000 tasks: with the two of a window, the third is not read yet."""
    batches = [Batch(n, (Task(f"{n}", 10 - n),) * 5000, 5000 * n) for n in range(3)]
    seen: list[int] = []
    run_batches(
        batches, Flaky(), executor="sequential", order="priority", batch_size=1,
        hooks=Hooks(on_result=lambda result: seen.append(result.batch)),
    )  # fmt: skip
    assert seen == [1, 2, 0]


# What it gains ------------------------------------------------------------------------------------


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


# Nothing lost, nothing twice ----------------------------------------------------------------------


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[int], set[int], dict[int, int]]:
    """Sizes of batches, tasks that fail by themselves, those that break (and how often)."""
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


# What is kept of it -------------------------------------------------------------------------------


def rows_in(path: Path) -> list[list[float]]:
    rows: list[list[float]] = json.loads(path.read_text())["batches"]
    return rows


def test_what_was_measured_is_merged_into_what_was_there(tmp_path: Path) -> None:
    """The second run is interrupted: the batches that it did not come to stay as they were."""
    path = tmp_path / "costs.json"
    with Costs(path, batch_size=2) as costs:
        takes = {n: 1.0 + n for n in range(3)}
        run_batches(cut([2, 2, 1]), Flaky(), executor=Virtual(takes), workers=1, costs=costs)
    assert rows_in(path) == [[0, 0, 2, 1.0], [1, 2, 2, 2.0], [2, 4, 1, 3.0]]
    done: list[int] = []
    with Costs(path, batch_size=2) as costs:
        assert (costs.before, costs.measured) == (3, 0)
        report = run_batches(
            cut([2, 2, 1]), Flaky(), executor=Virtual(dict.fromkeys(range(3), 9.0)), workers=1,
            order="longest", costs=costs,
            hooks=Hooks(lambda result: done.append(result.batch), stop=lambda: bool(done)),
        )  # fmt: skip
    assert report.interrupted
    assert done == [2]
    assert rows_in(path) == [[0, 0, 2, 1.0], [1, 2, 2, 2.0], [2, 4, 1, 9.0]]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["costs.json"]


def test_a_run_that_fails_keeps_what_it_measured_and_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"

    def broken() -> Iterator[Batch]:
        yield from cut([1, 1])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"), Costs(path) as costs:
        run_batches(broken(), Flaky(), executor=Virtual({0: 1.0, 1: 2.0}), workers=1, costs=costs)
    assert [row[0] for row in rows_in(path)] == [0, 1]


def test_batches_that_break_or_fail_as_a_whole_are_not_measured(tmp_path: Path) -> None:
    batches = cut([2] * 4, bad={0})
    with Costs(tmp_path / "costs.json") as costs:
        run_batches(
            batches, Flaky(), executor=Scripted({"task 2": FOR_EVER, "task 4": 1}), costs=costs,
            recovery=Recovery(backoff_s=0.0),
        )  # fmt: skip
    # Batch 0 has a task that fails, and came back; 1 has one set aside; 2 cost a worker, or failed.
    assert {row[0] for row in rows_in(tmp_path / "costs.json")} <= {0, 2, 3}
    assert {row[0] for row in rows_in(tmp_path / "costs.json")} >= {0, 3}


def test_what_does_not_fit_a_batch_is_forgotten_and_measured_anew(tmp_path: Path) -> None:
    """The input has grown: its last batch is another one now."""
    path = tmp_path / "costs.json"
    with Costs(path, batch_size=2) as costs:
        run_batches(cut([2, 1]), Flaky(), executor=Virtual({0: 5.0, 1: 1.0}), costs=costs)
    executor = Virtual({0: 5.0, 1: 2.0, 2: 3.0})
    with Costs(path, batch_size=2) as costs:
        run_batches(
            cut([2, 2, 2]), Flaky(), executor=executor, workers=1, order="longest", costs=costs
        )
    assert executor.order == [1, 2, 0]  # what is not known, then what is
    assert rows_in(path) == [[0, 0, 2, 5.0], [1, 2, 2, 2.0], [2, 4, 2, 3.0]]


def test_a_journal_goes_on_in_any_order_and_each_batch_is_done_once(tmp_path: Path) -> None:
    batches = cut([2] * 8)
    takes = {n: float(n) for n in range(8)}
    executor = Virtual(takes)
    done: list[int] = []
    reports = []
    for most in (3, 99):
        stop = partial(lambda most: len(executor.order) >= most, most)
        with (
            Journal(tmp_path / "j.db", {"what": "order"}) as journal,
            Costs(tmp_path / "costs.json") as costs,
        ):
            costs.known.update(takes)
            reports.append(
                run_batches(
                    batches, Flaky(), executor=executor, workers=1, order="longest",
                    costs=costs, journal=journal,
                    hooks=Hooks(lambda result: done.append(result.batch), stop=stop),
                )
            )  # fmt: skip
    assert reports[0].interrupted
    assert done == executor.order == [7, 6, 5, 4, 3, 2, 1, 0]
    expected = run_batches(cut([2] * 8), Flaky(), executor="sequential")
    assert (reports[1].digest, reports[1].result) == (expected.digest, expected.result)


def test_costs_are_bounded_and_senseless_ones_are_not_kept(tmp_path: Path) -> None:
    with Costs(tmp_path / "costs.json") as costs:
        for index, seconds in ((0, nan), (1, -1.0), (2, 0.5), (MOST_BATCHES, 1.0), (-1, 1.0)):
            costs.note(Batch(index, (), 0), seconds)
    assert rows_in(tmp_path / "costs.json") == [[2, 0, 0, 0.5]]


def test_costs_of_another_workload_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    with Costs(path) as costs:
        run_batches([Task("a")], "validate", executor="sequential", costs=costs)
    with pytest.raises(UsageError, match="costs of 'validate', and this is 'report'"):
        run_batches([Task("a")], "report", executor="sequential", costs=Costs(path))


def test_longest_first_without_costs_is_refused() -> None:
    with pytest.raises(UsageError, match="pass `costs`"):
        run_batches([Task("a")], "validate", executor="sequential", order="longest")


HEAD = '{"format": "todobatch costs", "version": 1, "processor": "flaky", "batches": '


@pytest.mark.parametrize(
    ("text", "error", "parts"),
    [
        ("", StoreError, ["line 1, column 1", "no JSON"]),
        (HEAD + "[\n[0, 0, 1, 1],\n[1, 1, 1 1]]}", StoreError, ["line 3", "no JSON"]),
        ("[]", StoreError, ['no "format"']),
        ('{"format": "other"}', StoreError, ['no "format"']),
        ('{"format": "todobatch costs", "version": 2}', NewerSchemaError, ["version 2", "knows 1"]),
        (HEAD.replace('"flaky"', "3") + "[]}", StoreError, ["processor", "no text"]),
        (HEAD + "3}", StoreError, ["batches", "no list"]),
        (HEAD + "[[0, 0, 10, 1], 7]}", StoreError, ["batches[1]", "the batch's index"]),
        (HEAD + "[[0, 0, 10]]}", StoreError, ["batches[0]", "its seconds"]),
        (HEAD + "[[0.5, 0, 10, 1]]}", StoreError, ["batches[0]", "index is 0.5", "whole number"]),
        (HEAD + "[[true, 0, 10, 1]]}", StoreError, ["index is True"]),
        (HEAD + "[[0, -1, 10, 1]]}", StoreError, ["first task is -1"]),
        (HEAD + "[[0, 0, 10, NaN]]}", StoreError, ["seconds is nan"]),
        (HEAD + "[[0, 0, 10, 1e999]]}", StoreError, ["seconds is inf"]),
        (HEAD + f"[[0, 0, {10**400}, 1]]}}", StoreError, ["number of tasks is 1000"]),
        (HEAD + "[[0, 0, 10, 1], [0, 0, 10, 1]]}", StoreError, ["batches[1]", "twice"]),
        (HEAD + f"[[{MOST_BATCHES}, 0, 10, 1]]}}", StoreError, ["not below"]),
        (
            HEAD + "[[0, 0, 10, 1], [1, 20, 10, 1]]}",
            UsageError,
            ["batches[1]", "10 tasks from 20 on", "batches of 10 it is from 10 on"],
        ),
        (HEAD + "[[0, 0, 11, 1]]}", UsageError, ["batches[0]", "11 tasks", "--batch-size"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_place_and_reason(
    tmp_path: Path, text: str, error: type[TodobatchError], parts: list[str]
) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(TodobatchError) as raised:
        Costs(path, batch_size=10)
    assert type(raised.value) is error
    for part in (str(path), *parts):
        assert part in str(raised.value)
    assert path.read_text() == text


def test_a_file_that_cannot_be_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "it is a folder"), (tmp_path / "no" / "c", "no such folder")):
        with pytest.raises(UsageError, match=why):
            Costs(path)
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(StoreError, match="UTF-8"):
        Costs(tmp_path / "latin")


def test_a_link_is_followed_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "costs.json")
    with Costs(tmp_path / "link") as costs:
        costs.note(Batch(0, (Task("a"),)), 1.0)
    assert (tmp_path / "link").is_symlink()
    assert rows_in(tmp_path / "costs.json") == [[0, 0, 1, 1.0]]


def test_batches_that_are_cut_alike_have_a_cost_each(tmp_path: Path) -> None:
    tasks = [Task(f"{n}") for n in range(25)]
    with Costs(tmp_path / "costs.json", batch_size=10) as costs:
        run_batches(tasks, "validate", workers=2, batch_size=10, costs=costs)
    rows = rows_in(tmp_path / "costs.json")
    assert [row[:3] for row in rows] == [[b.index, b.first, len(b)] for b in batched(tasks, 10)]
    assert all(row[3] >= 0 for row in rows)
