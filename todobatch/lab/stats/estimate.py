"""Estimate means and ratios with 95 % intervals, from paired samples.

A machine's speed drifts by 15-40 % within minutes, but all times of one block drift together. So
times are compared as ratios within a block, on their logarithms. This is a paired design (Student,
"The probable error of a mean", 1908; Box, Hunter and Hunter, "Statistics for Experimenters", on
blocking). The mean of logarithms is the logarithm of the geometric mean, the right mean for ratios.
Source: Fleming and Wallace, "How not to lie with statistics: the correct way to summarize benchmark
results", 1986.

The order of cells within a block is random, so the log-ratio of two cells is symmetric about its
true value whatever the machine does. The signed-rank test assumes nothing else (Wilcoxon,
"Individual comparisons by ranking methods", 1945). So a ratio gets the estimate and the exact
interval that belong to this test. Source: Hodges and Lehmann, "Estimates of location based on rank
tests", 1963. No value is dropped, and an outlier weighs no more than its rank. Fewer than six
blocks have too few ranks for 95 %, so they get Student's t.

docs/explanation/statistics.md explains the method and its limits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import TypeAlias

import numpy as np
from scipy import stats

from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Estimate, Sample, Verdict
from todobatch.units import Ratio, Seconds

CONFIDENCE = 0.95
EQUIVALENT_WITHIN: Ratio = 0.02
"""Two cells are equivalent when the interval of their ratio lies within 1 ± this."""

MOST_RANKED = 2_000
"""Above this many blocks Student's t is used: ranks would need n² ÷ 2 averages in memory."""

CLOCK_TICK: Seconds = 1e-9
"""Shorter times count as this long: a CPU time of 0 has no logarithm."""

GoodSamples: TypeAlias = Mapping[Cell, Mapping[int, Sample]]
"""The valid samples, by cell and block."""


def good_samples(run: Run) -> GoodSamples:
    """Return the samples that are not void, by cell and block."""
    good: dict[Cell, dict[int, Sample]] = {}
    for sample in run.samples:
        if sample.void is None:
            good.setdefault(sample.cell, {})[sample.block] = sample
    return good


def ratio_of(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Estimate a ratio with its interval from paired log-ratios.

    With six or more, the estimate is the median of the n(n+1)/2 means of two (Walsh averages). The
    interval comes from their order and the exact distribution of the signed-rank statistic. With
    fewer, or for a confidence that ranks cannot reach, `geometric_mean` is returned. The bounds are
    NaN for fewer than two.

    Source: Hodges and Lehmann (1963); Hollander, Wolfe and Chicken, "Nonparametric Statistical
    Methods", sections 3.2-3.3.
    """
    n = len(logs)
    rank = _signed_rank_quantile(n, confidence) if n <= MOST_RANKED else 0
    if rank == 0:
        return geometric_mean(logs, confidence)
    values = np.asarray(logs, dtype=np.float64)
    i, j = np.triu_indices(n)
    walsh = np.sort((values[i] + values[j]) / 2)
    low, high = walsh[rank - 1], walsh[len(walsh) - rank]
    return Estimate(math.exp(float(np.median(walsh))), math.exp(low), math.exp(high))


@cache
def _signed_rank_quantile(n: int, confidence: float) -> int:
    """Return the largest k with P(statistic < k) at most (1 - confidence) ÷ 2; 0 if there is none.

    The distribution is exact: it counts the ways to reach each sum of ranks (Wilcoxon, 1945).
    """
    ways = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer / 2
    return int(np.searchsorted(np.cumsum(ways), (1 - confidence) / 2, side="right"))


def geometric_mean(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the geometric mean of values given as logarithms, with Student's t interval.

    The bounds are NaN for fewer than two values. Source: Student (1908), half-width
    t(1 - a/2, n - 1) · s ÷ sqrt(n).
    """
    return student(logs).ratio(confidence)


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the geometric mean of values with its interval; the arithmetic mean if one is zero."""
    if all(value > 0 for value in values):
        return geometric_mean([math.log(value) for value in values], confidence)
    found = student(values)
    half = found.half_width(confidence)
    return Estimate(found.mean, found.mean - half, found.mean + half)


def log_ratios(
    mine: Mapping[int, Sample],
    others: Mapping[int, Sample],
    figure: Callable[[Sample], Seconds] = attrgetter("wall_s"),
) -> list[float]:
    """Return log(`others` ÷ `mine`) of a figure, for each block with a valid sample of both."""
    return [
        math.log(max(figure(others[block]), CLOCK_TICK) / max(figure(mine[block]), CLOCK_TICK))
        for block in sorted(mine.keys() & others.keys())
    ]


def verdict_of(ratio: Estimate) -> Verdict:
    """Return the verdict that a ratio's interval supports; a ratio above 1 is ``'faster'``.

    ``'equivalent'`` is tried first: a real difference within 2 % is too small to act on. Source:
    two one-sided tests (Schuirmann, 1987), here with the 95 % interval, which is stricter than the
    usual 90 %.
    """
    if math.isnan(ratio.low):
        return "inconclusive"
    if ratio.low >= 1 - EQUIVALENT_WITHIN and ratio.high <= 1 + EQUIVALENT_WITHIN:
        return "equivalent"
    if ratio.low > 1:
        return "faster"
    return "slower" if ratio.high < 1 else "inconclusive"


def p_value(logs: Sequence[float]) -> float:
    """Return the two-sided p value of Student's paired t test for a ratio of 1; 1 below 2 pairs.

    It is valid only if the number of blocks was fixed beforehand. `evidence.p_value` is valid
    however often the data are looked at. Source: Student (1908).
    """
    return student(logs).p_value() if logs else 1.0


@dataclass(frozen=True, slots=True)
class StudentT:
    """A mean and its standard error, for Student's t with `freedom` degrees of freedom."""

    mean: float
    error: float
    """The standard error of the mean; NaN if it is unknown."""
    freedom: float

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval of the mean."""
        if self.error == 0:
            return 0.0
        return self.error * float(stats.t.ppf((1 + confidence) / 2, self.freedom))

    def ratio(self, confidence: float) -> Estimate:
        """Return e to the mean, with its interval; the upper bound is infinite if it overflows."""
        half = self.half_width(confidence)
        try:
            high = math.exp(self.mean + half)
        except OverflowError:
            high = math.inf
        return Estimate(math.exp(self.mean), math.exp(self.mean - half), high)

    def p_value(self) -> float:
        """Return the two-sided p value for a mean of 0; 1 if the standard error is unknown."""
        if math.isnan(self.error):
            return 1.0
        if self.error == 0:
            return 0.0 if self.mean else 1.0
        return 2 * float(stats.t.sf(abs(self.mean) / self.error, self.freedom))


def student(values: Sequence[float]) -> StudentT:
    """Return the mean of values with its standard error, which is unknown for a single value."""
    mean, n = math.fsum(values) / len(values), len(values)
    if n < 2:
        return StudentT(mean, math.nan, math.nan)
    return StudentT(mean, float(np.std(values, ddof=1)) / math.sqrt(n), n - 1)
