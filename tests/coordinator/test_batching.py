"""Batches that the caller made are checked, and numbers of batches are kept as ranges."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todobatch import Task, run_batches
from todobatch.coordinator.ranges import Ranges
from todobatch.errors import UsageError
from todobatch.model import Batch


@pytest.mark.parametrize(
    ("batches", "cause"),
    [
        ([Batch(0, (Task("a"),)), Batch(0, (Task("b"),), 1)], "two batches have the index 0"),
        ([Batch(n % 70, (Task("a"),), n) for n in range(200)], "two batches have the index 0"),
        ([Batch(-1, (Task("a"),))], "a batch has the index -1"),
        ([Batch(0, (Task("a"),)), Task("b")], "an item of type Task came after batches"),
    ],
)
@pytest.mark.parametrize("executor", ["sequential", "threads", "processes"])
def test_ready_made_batches_without_distinct_indices_are_refused(
    batches: list[Batch], cause: str, executor: str
) -> None:
    with pytest.raises(UsageError) as raised:
        run_batches(batches, "validate", executor=executor)
    assert raised.value.cause == cause
    assert raised.value.place == "`tasks`"
    assert "number the batches 0, 1, 2" in raised.value.remedy


@given(st.lists(st.integers(0, 60), unique=True))
def test_ranges_are_a_set(numbers: list[int]) -> None:
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
        with pytest.raises(ValueError, match="already"):
            ranges.add(number)
    assert [n for n in range(70) if n in ranges] == sorted(numbers)
    pairs = ranges.pairs()
    assert sum(end - start for start, end in pairs) == len(numbers)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(pairs)), "no two touch"
    assert Ranges(pairs).pairs() == pairs


def test_numbers_in_order_with_one_gap_are_two_ranges() -> None:
    ranges = Ranges()
    for number in range(100_000):
        if number != 5:
            ranges.add(number)
    assert ranges.pairs() == [(0, 5), (6, 100_000)]
