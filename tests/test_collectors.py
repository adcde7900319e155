"""The three collectors lose no result and duplicate none, whichever thread reads them."""

import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from benchmarks import shared_state
from todobatch import Hooks, run_batches
from todobatch.collectors import (
    PerWorkerResultCollector,
    QueueResultCollector,
    ResultCollector,
    ThreadSafeResultCollector,
)
from todobatch.model import ProcessingResult, Task

KINDS = [ThreadSafeResultCollector, QueueResultCollector, PerWorkerResultCollector]
THREADS = 6
EACH = 400


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def new(request: pytest.FixtureRequest) -> Callable[[], ResultCollector]:
    """Return a class of collectors; each thread of a test makes its own collector."""
    kind: Callable[[], ResultCollector] = request.param
    return kind


def a_result(number: int) -> ProcessingResult:
    return ProcessingResult("p", 1, 0.0, True, batch=number)


def in_threads(work: Callable[[int], None], count: int = THREADS) -> None:
    """Run `work` in several threads that begin at the same moment; raise what one raised."""
    together = threading.Barrier(count)
    broken: list[BaseException] = []

    def begin(n: int) -> None:
        try:
            together.wait()
            work(n)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=begin, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]


def test_every_result_is_kept_once_whoever_adds_it(new: Callable[[], ResultCollector]) -> None:
    collector = new()

    def add(n: int) -> None:
        for k in range(EACH):
            collector.add_result(a_result(n * EACH + k))

    in_threads(add)
    assert collector.get_count() == THREADS * EACH
    batches = [result.batch for result in collector.get_all_results()]
    assert sorted(batches) == list(range(THREADS * EACH))


def test_one_threads_results_stay_in_order(new: Callable[[], ResultCollector]) -> None:
    collector = new()

    def add(n: int) -> None:
        for k in range(EACH):
            collector.add_result(a_result(n * EACH + k))

    in_threads(add)
    batches = [result.batch for result in collector.get_all_results()]
    for n in range(THREADS):
        mine = [batch for batch in batches if batch // EACH == n]
        assert mine == sorted(mine)


def test_readers_see_what_was_added_before_and_never_anything_twice(
    new: Callable[[], ResultCollector],
) -> None:
    collector = new()
    added = [0] * THREADS  # each thread writes its own place

    def work(n: int) -> None:
        for k in range(EACH):
            if n % 2:
                surely = sum(added)  # these adds had returned before we look
                seen = [result.batch for result in collector.get_all_results()]
                assert len(seen) == len(set(seen))
                assert len(seen) >= surely
                assert collector.get_count() >= len(seen)
                if k == 40:
                    return
            else:
                collector.add_result(a_result(n * EACH + k))
                added[n] = k + 1

    in_threads(work)
    assert collector.get_count() == THREADS // 2 * EACH


def test_the_copy_is_a_copy_and_asking_takes_nothing_away(
    new: Callable[[], ResultCollector],
) -> None:
    collector = new()
    assert (collector.get_all_results(), collector.get_count()) == ([], 0)
    collector.add_result(a_result(1))
    collector.get_all_results().clear()
    assert [result.batch for result in collector.get_all_results()] == [1]
    collector.add_result(a_result(2))
    assert [result.batch for result in collector.get_all_results()] == [1, 2]
    assert collector.get_count() == 2


def test_results_of_threads_that_have_ended_are_still_there(
    new: Callable[[], ResultCollector],
) -> None:
    collector = new()
    for round_ in range(3):  # the system may give a new thread an old one's name
        in_threads(lambda n, r=round_: collector.add_result(a_result(n + 10 * r)), count=2)  # type: ignore[misc]
    batches = sorted(result.batch for result in collector.get_all_results())
    assert batches == [0, 1, 10, 11, 20, 21]


def test_a_thread_may_hold_its_own_list() -> None:
    collector = PerWorkerResultCollector()

    def add(n: int) -> None:
        mine = collector.container()
        mine.append(a_result(n))
        assert collector.container() is mine
        collector.add_result(a_result(n + 10))
        assert [result.batch for result in mine] == [n, n + 10]

    in_threads(add, count=2)
    assert sorted(result.batch for result in collector.get_all_results()) == [0, 1, 10, 11]


def test_what_is_collected_cannot_be_changed(new: Callable[[], ResultCollector]) -> None:
    collector = new()
    collector.add_result(a_result(1))
    (result,) = collector.get_all_results()
    with pytest.raises(FrozenInstanceError):
        result.success = False  # type: ignore[misc]


def test_each_of_them_collects_a_runs_results(new: Callable[[], ResultCollector]) -> None:
    collector = new()
    run_batches(
        [Task("a")] * 40, "validate", batch_size=4, hooks=Hooks(on_result=collector.add_result)
    )
    assert sorted(result.batch for result in collector.get_all_results()) == list(range(10))


# The benchmark ------------------------------------------------------------------------------------


class Losing(ThreadSafeResultCollector):
    """A collector that loses every thousandth result."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def add_result(self, result: ProcessingResult) -> None:
        with self._lock:
            self._asked += 1
            if self._asked % 1_000:
                self._results.append(result)


def test_a_round_of_the_benchmark_times_every_collector() -> None:
    seen = shared_state.one_round(2, 4_000, seed=1)
    assert set(seen["wall_s"]) == set(shared_state.KINDS)
    assert all(wall > 0 for wall in seen["wall_s"].values())


def test_the_benchmark_refuses_a_collector_that_loses_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(shared_state.KINDS, "losing", Losing)
    with pytest.raises(RuntimeError, match=r"losing: of 1000 .* 4 times, [1-4] are"):
        shared_state.turn("losing", 2, 4_000)
