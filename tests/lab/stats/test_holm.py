"""Holm's correction decides as in the textbook, even for a p value equal to its level."""

import pytest

from todobatch.lab.stats.estimate import CONFIDENCE
from todobatch.lab.stats.holm import holm_levels

ALPHA = 1 - CONFIDENCE


def rejected(p_values: dict[str, float]) -> set[str]:
    levels = holm_levels(p_values)
    return {name for name in p_values if p_values[name] <= levels[name]}


def test_the_levels_rise_until_one_is_not_rejected() -> None:
    # Adjusted p values by R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm"): 0.03 0.06 0.06 0.02.
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert rejected(p_values) == {"a", "d"}
    levels = holm_levels(p_values)
    assert list(levels) == ["d", "a", "c", "b"]
    assert list(levels.values()) == pytest.approx([ALPHA / 4, ALPHA / 3, ALPHA / 2, ALPHA / 2])


def test_a_p_value_that_equals_its_level_is_rejected() -> None:
    assert rejected({"a": ALPHA / 3, "b": ALPHA / 2, "c": ALPHA}) == {"a", "b", "c"}
    assert rejected({"a": ALPHA / 3, "b": ALPHA / 2 + 1e-9, "c": ALPHA}) == {"a"}
    assert rejected({"a": ALPHA}) == {"a"}


def test_equal_p_values_above_the_first_level_are_all_kept() -> None:
    assert rejected({"a": 0.02, "b": 0.02, "c": 0.02}) == set()  # 0.02 > 0.05 / 3


def test_without_comparisons_there_are_no_levels() -> None:
    assert holm_levels({}) == {}
