"""Evidence that may be looked at after every block: verdicts that hold under optional stopping.

A p value of a fixed plan means nothing once somebody looks after every block and stops when it
pleases. An e-value does: it is the wealth of a gambler who bets, at fair odds, against "there is no
difference". By Ville's inequality (1939) wealth that began as 1 ever reaches 1/a with probability a
at most, however often it is looked at. So 1 ÷ (the most that it ever was) is a p value that is
valid at any time (Shafer et al., "Test martingales, Bayes factors and p-values", 2011; Ramdas,
Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2023).

Four bets share the stake, and their mean is an e-value again:

* one on signs. The order of two cells within a block is drawn by lot, so without a difference the
  log-ratio of the block is as likely to be positive as negative, whatever its size, whatever the
  machine did before: drift, autocorrelation and outliers cannot make this bet unfair. (De la Peña,
  "A general class of exponential inequalities for martingales and ratios", 1999, for symmetric
  variables; the bet here is a likelihood ratio of the two signs.)
* three on size: the Bayes factor of Student's t with the right Haar prior on the spread and a
  normal prior of variance g on the standardised effect, g = 1, 10 and 100. It takes log-ratios to
  be normal, and is a test martingale then (Gönen et al., "The Bayesian two-sample t test", 2005,
  for the formula; Hendriksen, de Heide and Grünwald, "Optional stopping with Bayes factors", 2021,
  and Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with
  unknown variance", 2024, for its validity). It decides on large effects in fewer blocks than
  signs can: six signs alike happen once in 32 times.

`benchmarks/peers/coverage.py` holds them, and the intervals, against drift, autocorrelation and
outliers.
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
MOST_STAKED = 0.97
"""A sign is never bet on with all there is: one wrong guess must not be the end."""
HEAVY_TAILS = 3.0  # degrees of freedom of the t that signs are guessed by: outliers weigh little
CONFIRMING = 2
"""Blocks that are taken after a decision which is not clear."""
CLEAR: Ratio = 1.25
"""A difference is clear when its whole interval lies beyond this."""
LEAST_BLOCKS = 6
"""Before so many blocks no cell is left out for being precise enough: its spread is not known."""


def evidence(logs: Sequence[float], null: float = 0.0) -> Floats:
    """Logarithm of the e-value against "the log-ratio is `null`" after each block; shape (n,)."""
    return _evidence(tuple(logs), null)


@lru_cache(maxsize=4096)  # a run asks for the same again and again: to rank, to judge, to show
def _evidence(logs: tuple[float, ...], null: float) -> Floats:
    values = np.asarray(logs, dtype=np.float64) - null
    if not len(values):
        return np.zeros(0)
    bets = [_signs(values), *(_sizes(values, variance) for variance in EFFECT_VARIANCES)]
    return np.asarray(np.logaddexp.reduce(bets, axis=0) - math.log(len(bets)))


def p_value(logs: Sequence[float], null: float = 0.0) -> float:
    """Of "the log-ratio is `null`": valid however often it was looked at; 1 without a block."""
    return math.exp(-max(0.0, *evidence(logs, null), 0.0))


def p_beyond(logs: Sequence[float], within: Ratio = EQUIVALENT_WITHIN) -> float:
    """Of "the ratio lies beyond 1 ± `within`": two one-sided tests (Schuirmann, 1987)."""
    if len(logs) < 2:
        return 1.0
    centre = math.log(ratio_of(logs).estimate)
    low, high = math.log(1 - within), math.log(1 + within)
    if not low < centre < high:
        return 1.0
    return max(p_value(logs, low), p_value(logs, high))


def verdict(logs: Sequence[float], level: float) -> Verdict:
    """What can be said at this level, at any time; above 1 is ``'faster'``.

    ``'equivalent'`` comes first: a difference that is real and within 2 % is none to act on.
    """
    if p_beyond(logs) <= level:
        return "equivalent"
    if p_value(logs) > level:
        return "cannot tell"
    return "faster" if ratio_of(logs).estimate > 1 else "slower"


def precise(logs: Sequence[float], target: Ratio) -> bool:
    """Whether the 95 % interval reaches no further than ± `target` of the ratio."""
    if len(logs) < LEAST_BLOCKS:
        return False
    ratio = ratio_of(logs)
    return (ratio.high - ratio.low) / 2 <= target * ratio.estimate


def settled(logs: Sequence[float], level: float, target: Ratio) -> bool:
    """Whether no more blocks are asked for: it is decided at this level, or known to ± `target`.

    At the very moment of decision an estimate is likely to be one of the luckier ones, and its
    interval holds the truth in 90 to 93 % of cases instead of 95 (for the bias: Whitehead, "On the
    bias of maximum likelihood estimation following a sequential test", 1986). So two blocks more
    are taken, unless the difference is so clear that luck has no part in it.
    """
    if len(logs) < 2:
        return False
    ratio = ratio_of(logs)
    clear = ratio.low > CLEAR or ratio.high < 1 / CLEAR
    told = logs if clear else logs[:-CONFIRMING]
    return verdict(told, level) != "cannot tell" or precise(told, target)


def _signs(values: Floats) -> Floats:
    """Log-wealth after betting on each sign, knowing its size and all that came before it."""
    wealth = np.zeros(len(values))
    for n in range(1, len(values)):
        stake = MOST_STAKED * _expected_sign(values[:n], abs(values[n]))
        wealth[n] = wealth[n - 1] + math.log1p(stake * float(np.sign(values[n])))
    return wealth


def _expected_sign(past: Floats, size: float) -> float:
    """(f(size) - f(-size)) ÷ (f(size) + f(-size)), f Student's t at the past's median and spread.

    The median is drawn a little to 0, and the spread (median absolute deviation, Hampel, 1974)
    never taken for much less than the median: few blocks know neither.
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
    """Log Bayes factor after each block: 0.5 [n log((1+r) ÷ (1+r ÷ (1+ng))) - log(1+ng)].

    r = n · mean² ÷ (sum of squares about the mean), which is t² ÷ (n - 1).
    """
    n = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / n
    around = np.cumsum(values**2) - n * mean**2
    floor = 1e-15 * np.cumsum(values**2) + 1e-300  # rounding may leave less than nothing
    r = n * mean**2 / np.maximum(around, floor)
    spread = 1 + n * variance
    factor = 0.5 * (n * (np.log1p(r) - np.log1p(r / spread)) - np.log(spread))
    factor[0] = 0.0  # one value has no spread, and says nothing
    return np.asarray(factor)
