"""Estimates with intervals: the statistics of the lab, in their smallest pieces.

Method. A machine's speed drifts by 15-40 % within minutes, and it slows down as a whole: times of
one block share that factor. So times are compared as ratios within a block, on their logarithms: a
paired design (Student, "The probable error of a mean", 1908; Box, Hunter and Hunter, "Statistics
for Experimenters", on blocking). A mean of logarithms is the logarithm of a geometric mean, which
is right for ratios (Fleming and Wallace, "How not to lie with statistics: the correct way to
summarize benchmark results", 1986).

The order of cells within a block is drawn by lot, so the log-ratio of two of them is symmetric
about its true value whatever the machine does. That is all that the signed-rank test asks for
(Wilcoxon, "Individual comparisons by ranking methods", 1945): ratios are estimated by the centre
that belongs to it and its exact interval (Hodges and Lehmann, "Estimates of location based on rank
tests", 1963). No value is dropped, and a wild one weighs no more than its rank. Fewer than six
blocks have too few ranks for 95 %: they get Student's t.

docs/explanation/statistics.md says the same for people, with its limits.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Estimate, Sample, Verdict

CONFIDENCE = 0.95
EQUIVALENT_WITHIN = 0.02
"""Two cells whose ratio surely lies within 1 ± this are called equivalent."""

MOST_RANKED = 2_000
"""Blocks up to which ranks are used: their averages take n² ÷ 2 numbers."""

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


def ratio_of(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The ratio that paired log-ratios tell of, with its interval; NaN bounds for fewer than two.

    Six or more: the median of all n(n+1)/2 means of two of them (Walsh averages), and the interval
    from their order and the exact distribution of the signed-rank statistic (Hodges and Lehmann,
    1963; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 3.2-3.3). Fewer, or a
    confidence that their ranks cannot give: Student's t.
    """
    n = len(logs)
    rank = _signed_rank_quantile(n, confidence) if n <= MOST_RANKED else 0
    if rank == 0:
        return mean_log(logs, confidence)
    values = np.asarray(logs, dtype=np.float64)
    i, j = np.triu_indices(n)
    walsh = np.sort((values[i] + values[j]) / 2)
    low, high = walsh[rank - 1], walsh[len(walsh) - rank]
    return Estimate(math.exp(float(np.median(walsh))), math.exp(low), math.exp(high))


@cache
def _signed_rank_quantile(n: int, confidence: float) -> int:
    """The largest k with P(statistic < k) at most (1 - confidence) ÷ 2, its exact distribution.

    0 where there is none. The number of ways to each sum of ranks: Wilcoxon (1945).
    """
    ways = np.ones(1)
    for rank in range(1, n + 1):
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer / 2
    return int(np.searchsorted(np.cumsum(ways), (1 - confidence) / 2, side="right"))


def mean_log(logs: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Geometric mean, given logarithms, with Student's t interval; NaN bounds for fewer than two.

    Source: Student (1908): half-width t(1 - a/2, n - 1) · s ÷ sqrt(n).
    """
    mean, half = _mean_and_half_width(logs, confidence)
    return Estimate(math.exp(mean), math.exp(mean - half), _exp(mean + half))


def _exp(logarithm: float) -> float:
    """Infinite where a float ends: two blocks can leave a ratio anywhere."""
    return math.inf if logarithm > _MOST else math.exp(logarithm)


_MOST = math.log(sys.float_info.max)


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


def p_value(logs: Sequence[float]) -> float:
    """Two-sided p value of Student's paired t test, mean logarithm 0; 1 for fewer than 2 pairs.

    For a number of blocks that was fixed beforehand; `sequential.p_value` may be looked at.
    """
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
