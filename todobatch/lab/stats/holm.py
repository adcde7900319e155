"""Holm's correction: decide many comparisons so that all errors together stay within 5 %."""

from collections.abc import Mapping
from typing import TypeVar

from todobatch.lab.stats.estimate import CONFIDENCE

_Name = TypeVar("_Name")


def holm_levels(p_values: Mapping[_Name, float]) -> dict[_Name, float]:
    """Return the level at which each comparison is decided, smallest p value first.

    In the order of their p values the k-th of m comparisons (from 0) has level 0.05 ÷ (m - k).
    Its null hypothesis is rejected if its p value is at most its level. After the first one that is
    not rejected, the level stays the same.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
    of Statistics 6, 1979.
    """
    levels: dict[_Name, float] = {}
    rejected = 0
    for name in sorted(p_values, key=p_values.__getitem__):
        levels[name] = (1 - CONFIDENCE) / (len(p_values) - rejected)
        rejected += p_values[name] <= levels[name]
    return levels
