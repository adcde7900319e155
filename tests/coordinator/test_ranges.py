"""A set of numbers that is kept as ranges."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todobatch.coordinator.ranges import Ranges


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
