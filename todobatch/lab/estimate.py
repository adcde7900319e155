"""Estimates with intervals: the statistics of the lab, in their smallest pieces.

Method. A machine's speed drifts by 15-40 % within minutes, and it slows down as a whole: times of
one block share that factor. So times are compared as ratios within a block, and the logarithms of
these ratios are averaged: a paired design (Student, "The probable error of a mean", 1908; Box,
Hunter and Hunter, "Statistics for Experimenters", on blocking). Means of logarithms are logarithms
of geometric means, which are right for ratios (Fleming and Wallace, "How not to lie with
statistics: the correct way to summarize benchmark results", 1986). Intervals are Student's t on the
logarithms, 95 %. Outliers stay in.

docs/explanation/statistics.md says the same for people, with its limits.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from todobatch.lab.schema import Cell, Comparison, Estimate, Sample, Verdict
from todobatch.lab.store import Run

CONFIDENCE = 0.95
EQUIVALENT_WITHIN = 0.02
"""Two cells whose ratio lies within 1 ± this, interval and all, are called equivalent."""

CLOCK_TICK = 1e-9  # no clock tells less; a CPU time of 0 has no logarithm

Good: TypeAlias = Mapping[Cell, Mapping[int, Sample]]
"""Cell -> block -> its sample; voids are not in it."""


def good_samples(run: Run) -> Good:
    """The samples to go by, by cell and block."""
    good: dict[Cell, dict[int, Sample]] = {}
    for sample in run.samples:
        if sample.void is None:
            good.setdefault(sample.cell, {})[sample.block] = sample
    return good


def mean_log(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean, given logarithms, with Student's t interval; NaN bounds for fewer than two.

    Source: Student (1908): half-width t(1 - a/2, n - 1) · s ÷ sqrt(n).
    """
    mean, half = _mean_and_half_width(logs, confidence)
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def measure(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """A measure's geometric mean with its interval; arithmetic where a value is zero.

    (To bring up workers where there are none takes no time, and zero has no logarithm.)
    """
    if all(value > 0 for value in values):
        return mean_log([math.log(value) for value in values], confidence)
    mean, half = _mean_and_half_width(values, confidence)
    return Estimate(mean, mean - half, mean + half)


def log_ratios(
    mine: Mapping[int, Sample],
    others: Mapping[int, Sample],
    figure: Literal["wall_s", "cpu_s"] = "wall_s",
) -> list[float]:
    """log(the other's figure ÷ this one's) of each block in which both have a good sample."""
    return [
        math.log(
            max(getattr(others[block], figure), CLOCK_TICK)
            / max(getattr(mine[block], figure), CLOCK_TICK)
        )
        for block in sorted(mine.keys() & others.keys())
    ]


def judge(ratio: Estimate) -> Verdict:
    """The verdict on a ratio with its interval.

    ``'equivalent'`` comes first: a difference that is real and within 2 % is still no difference
    to act on (two one-sided tests: Schuirmann, 1987; here with the 95 % interval, which is the
    stricter choice).
    """
    if math.isnan(ratio.low):
        return "cannot tell"
    if ratio.low >= 1 - EQUIVALENT_WITHIN and ratio.high <= 1 + EQUIVALENT_WITHIN:
        return "equivalent"
    if ratio.low > 1:
        return "faster"
    return "slower" if ratio.high < 1 else "cannot tell"


def compare(a: Cell, b: Cell, logs: Sequence[float], confidence: float = CONFIDENCE) -> Comparison:
    """The comparison that these paired log-ratios make; NaN and ``'cannot tell'`` for none."""
    if not logs:
        return Comparison(a, b, Estimate(math.nan, math.nan, math.nan), "cannot tell", 0)
    ratio = mean_log(logs, confidence)
    return Comparison(a, b, ratio, judge(ratio), len(logs))


def p_value(logs: Sequence[float]) -> float:
    """Two-sided p value of Student's paired t test, mean logarithm 0; 1 for fewer than 2 pairs."""
    if len(logs) < 2:
        return 1.0
    mean = math.fsum(logs) / len(logs)
    error = _standard_error(logs)
    if error == 0:
        return 0.0 if mean else 1.0
    return 2 * float(stats.t.sf(abs(mean) / error, len(logs) - 1))


def _mean_and_half_width(values: Sequence[float], confidence: float) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    quantile = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1))
    return mean, quantile * _standard_error(values)


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))
