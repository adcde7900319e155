"""Compare cells with verdicts that stay valid when the data are looked at after every block.

The p value of a fixed plan loses its meaning if one looks after every block and stops at will. An
e-value does not. It is the wealth of a gambler who bets at fair odds against "there is no
difference". Wealth that starts at 1 ever reaches 1/a with probability a at most (Ville, 1939). So
1 ÷ (the largest wealth so far) is a p value that is valid at any time. Sources: Shafer et al.,
"Test martingales, Bayes factors and p-values", 2011; Ramdas, Grünwald, Vovk and Shafer,
"Game-theoretic statistics and safe anytime-valid inference", 2023.

Four bets share the stake, and their mean is an e-value too:

* One bet is on signs. The order of two cells within a block is random. So without a difference,
  the block's log-ratio is as likely to be positive as negative, whatever its size and whatever the
  machine did before. Drift, autocorrelation and outliers cannot make this bet unfair. The bet is a
  likelihood ratio of the two signs. Source, for symmetric variables: De la Peña, "A general class
  of exponential inequalities for martingales and ratios", 1999.
* Three bets are on size. Each is the Bayes factor of Student's t. Its priors are the right Haar
  prior on the spread, and a normal one of variance g on the standardised effect. g is 1, 10 and
  100. If log-ratios are normal, the factor is a test martingale. For a large effect it needs fewer
  blocks than signs do: six equal signs occur by chance once in 32 times. Sources: Gönen et al.,
  "The Bayesian two-sample t test", 2005, for the formula; Hendriksen, de Heide and Grünwald,
  "Optional stopping with Bayes factors", 2021; Wang and Ramdas, "Anytime-valid t-tests and
  confidence sequences for Gaussian means with unknown variance", 2024.

`benchmarks/peers/coverage.py` tests the e-values and the intervals against drift, autocorrelation
and outliers.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from todobatch.lab.stats.estimate import EQUIVALENT_WITHIN, ratio_of
from todobatch.lab.store.schema import Verdict
from todobatch.units import Ratio

Floats = npt.NDArray[np.float64]

EFFECT_VARIANCES = (1.0, 10.0, 100.0)
"""Prior variances g of the standardised effect, one for each bet on size."""
MOST_STAKED = 0.97
"""The largest share of the wealth that is bet on a sign, so that one wrong guess is not the end."""
HEAVY_TAILS = 3.0
"""Degrees of freedom of the t distribution that predicts signs; few, so outliers weigh little."""
CONFIRMING = 2
"""How many more blocks are measured after a decision, unless the difference is clear."""
CLEAR: Ratio = 1.25
"""A difference is clear when its whole interval lies beyond this ratio."""
LEAST_BLOCKS = 6
"""With fewer blocks an interval is never called precise: its width is not well known."""


def evidence(logs: Sequence[float], null: float = 0.0) -> Floats:
    """Return the log e-value after each block against the hypothesis of a log-ratio of `null`."""
    return _evidence(tuple(logs), null)


@lru_cache(maxsize=4096)  # ranking, comparing and showing a run ask for the same values
def _evidence(logs: tuple[float, ...], null: float) -> Floats:
    values = np.asarray(logs, dtype=np.float64) - null
    if not len(values):
        return np.zeros(0)
    bets = [_signs(values), *(_sizes(values, variance) for variance in EFFECT_VARIANCES)]
    return np.asarray(np.logaddexp.reduce(bets, axis=0) - math.log(len(bets)))


def p_value(logs: Sequence[float], null: float = 0.0) -> float:
    """Return the p value of a log-ratio of `null`, valid after any number of looks."""
    return math.exp(-max(0.0, *evidence(logs, null), 0.0))


def p_beyond(logs: Sequence[float], within: Ratio = EQUIVALENT_WITHIN) -> float:
    """Return the p value of the hypothesis that the ratio lies outside 1 ± `within`.

    Source: two one-sided tests (Schuirmann, 1987).
    """
    if len(logs) < 2:
        return 1.0
    centre = math.log(ratio_of(logs).estimate)
    low, high = math.log(1 - within), math.log(1 + within)
    if not low < centre < high:
        return 1.0
    return max(p_value(logs, low), p_value(logs, high))


def verdict(logs: Sequence[float], level: float) -> Verdict:
    """Return the verdict at this level, valid at any time; a ratio above 1 is ``'faster'``."""
    if p_beyond(logs) <= level:
        return "equivalent"
    if p_value(logs) > level:
        return "inconclusive"
    return "faster" if ratio_of(logs).estimate > 1 else "slower"


def precise(logs: Sequence[float], target: Ratio) -> bool:
    """Return whether half the width of the 95 % interval is at most `target` × the ratio."""
    if len(logs) < LEAST_BLOCKS:
        return False
    ratio = ratio_of(logs)
    return (ratio.high - ratio.low) / 2 <= target * ratio.estimate


def settled(logs: Sequence[float], level: float, target: Ratio) -> bool:
    """Return whether enough blocks were measured for a verdict, or for a ratio within ± `target`.

    At the moment of decision an estimate tends to be too extreme. Its interval then contains the
    true ratio in 90 to 93 % of cases instead of 95. So two more blocks are measured, unless the
    difference is clear. Source: Whitehead, "On the bias of maximum likelihood estimation following
    a sequential test", 1986.
    """
    if len(logs) < 2:
        return False
    ratio = ratio_of(logs)
    clear = ratio.low > CLEAR or ratio.high < 1 / CLEAR
    decisive = logs if clear else logs[:-CONFIRMING]
    return verdict(decisive, level) != "inconclusive" or precise(decisive, target)


def _signs(values: Floats) -> Floats:
    """Return the log-wealth after betting on each sign, from its size and all earlier values."""
    wealth = np.zeros(len(values))
    for n in range(1, len(values)):
        stake = MOST_STAKED * _expected_sign(values[:n], abs(values[n]))
        wealth[n] = wealth[n - 1] + math.log1p(stake * float(np.sign(values[n])))
    return wealth


def _expected_sign(past: Floats, size: float) -> float:
    """Return the expected sign of a value: (f(size) - f(-size)) ÷ (f(size) + f(-size)).

    f is the density of Student's t about the median of the past, with its median absolute deviation
    as spread (Hampel, 1974). Few blocks know neither well, so the median is moved a little towards
    0 and the spread is at least a quarter of the median.
    """
    n = len(past)
    centre = float(np.median(past)) * n / (n + 1)
    around = centre if n > 2 else 0.0
    spread = 1.4826 ** (n > 2) * float(np.median(np.abs(past - around)))
    spread = max(spread, abs(centre) / 4) * math.sqrt(1 + 1 / n)
    if spread == 0:
        return 0.0
    above, below = ((size - centre) / spread) ** 2, ((size + centre) / spread) ** 2
    odds = math.log1p(below / HEAVY_TAILS) - math.log1p(above / HEAVY_TAILS)
    return math.tanh((HEAVY_TAILS + 1) / 4 * odds)


def _sizes(values: Floats, variance: float) -> Floats:
    """Return the log Bayes factor after each block, for a prior variance g of the effect.

    It is 0.5 [n log((1+r) ÷ (1+r ÷ (1+ng))) - log(1+ng)], where r = t² ÷ (n - 1) is
    n · mean² ÷ (sum of squares about the mean). Source: Gönen et al. (2005).
    """
    n = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / n
    around = np.cumsum(values**2) - n * mean**2
    floor = 1e-15 * np.cumsum(values**2) + 1e-300  # rounding may make it negative
    r = n * mean**2 / np.maximum(around, floor)
    spread = 1 + n * variance
    factor = 0.5 * (n * (np.log1p(r) - np.log1p(r / spread)) - np.log(spread))
    factor[0] = 0.0  # one value has no spread
    return np.asarray(factor)
