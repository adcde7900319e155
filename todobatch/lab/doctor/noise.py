"""Measure the noise of this machine, and the smallest difference that can be found on it.

The method is an A/A run: one cell is measured as if it were two. Each pair consists of two samples,
one right after the other, and chance decides which of them is called A. Their ratio is pure noise.
The spread of the ratios tells how many pairs are needed to find a real difference of a given size.

This is the best case. In a run of many cells, the samples that are compared are further apart in
time, and the machine's drift adds to the spread.
"""

import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scipy import optimize, stats

from todobatch.lab.doctor.checks import Finding
from todobatch.lab.measure.calibrate import measure
from todobatch.lab.measure.sample import Sampler
from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.stats.estimate import geometric_mean
from todobatch.lab.store.schema import Cell, Estimate, WorkloadShape
from todobatch.units import Ratio, Seconds

NAME = "A/A run"
WORKLOAD = "example8"
SAMPLE_S: Seconds = 0.3
"""A sample has as many tasks as take about this long."""
FIRST_TASKS = 200
"""Tasks of the first sample, which shows how long a task takes."""
BATCHES = 8
MOST_TASKS = 200_000
"""The most tasks of a sample, because all of them are in memory."""
LEAST_PAIRS = 2
"""The smallest number of pairs that has a spread."""
TIMES_S: tuple[Seconds, ...] = (10.0, 60.0, 300.0, 1800.0)
"""Measuring times for which the smallest detectable difference is computed."""
POWER = 0.8
"""The probability of finding a difference of the computed size."""
TOO_NOISY: Ratio = 0.05
"""An A/A run whose interval reaches further from 0 is a warning: a run would find little."""
LEVEL = 0.05
"""The probability of finding a difference where there is none (two-sided)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples of the same cell, one right after the other."""

    a_s: Seconds
    b_s: Seconds
    total_s: Seconds
    """Time of both samples, including the start of their processes."""


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest difference that can be found in `seconds` of measuring."""

    seconds: Seconds
    pairs: int
    effect: Ratio | None
    """A fraction of the time: 0.02 is 2 %. None when there is no time for two pairs."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The result of an A/A run. Spreads and effects are fractions: 0.02 is 2 %."""

    workload: str
    interpreter: str
    pairs: int
    sample_s: Seconds
    pair_s: Seconds
    spread: Ratio
    """Standard deviation of the log ratios."""
    spread_low: Ratio
    spread_high: Ratio
    """`spread_low` and `spread_high` are the 95 % interval of `spread`."""
    robust_spread: Ratio
    """1.4826 × the median distance of the log ratios from their median; outliers weigh little."""
    mean: Estimate
    """Mean difference of A from B, whose true value is 0."""
    detectable: tuple[Detectable, ...]


def measure_pairs(
    sampler: Sampler, interpreter: str, seconds: Seconds, draw: random.Random
) -> Iterator[Pair]:
    """Yield pairs for `seconds`, but at least two. Raises MeasurementError for a void sample."""
    end = time.monotonic() + seconds
    cell = Cell(WORKLOAD, interpreter, SEQUENTIAL, 1)
    shape = _shape(sampler, cell)
    count, longest = 0, 0.0
    while count < LEAST_PAIRS or time.monotonic() + longest <= end:
        begun = time.monotonic()
        first, second = (measure(sampler, cell, shape, count).wall_s for _ in range(2))
        total = time.monotonic() - begun
        a, b = (first, second) if draw.random() < 0.5 else (second, first)
        yield Pair(a, b, total)
        count, longest = count + 1, max(longest, total)


def summarise(pairs: Sequence[Pair], interpreter: str) -> Noise | None:
    """Compute the noise from all pairs; None for fewer than two."""
    if len(pairs) < LEAST_PAIRS:
        return None
    logs = [math.log(pair.a_s / pair.b_s) for pair in pairs]
    middle = statistics.median(logs)
    ratio = geometric_mean(logs)
    spread = statistics.stdev(logs)
    pair_s = statistics.fmean(pair.total_s for pair in pairs)
    return Noise(
        workload=WORKLOAD,
        interpreter=interpreter,
        pairs=len(pairs),
        sample_s=statistics.median(each for pair in pairs for each in (pair.a_s, pair.b_s)),
        pair_s=pair_s,
        spread=spread,
        spread_low=spread * _spread_factor(len(pairs), 1 - LEVEL / 2),
        spread_high=spread * _spread_factor(len(pairs), LEVEL / 2),
        # 1.4826 makes it equal the standard deviation of a normal distribution (Hampel, 1974).
        robust_spread=1.4826 * statistics.median(abs(each - middle) for each in logs),
        mean=Estimate(ratio.estimate - 1, ratio.low - 1, ratio.high - 1),
        detectable=tuple(_detectable(spread, pair_s, seconds) for seconds in TIMES_S),
    )


def smallest_effect(spread: float, count: int) -> float:
    """Return the mean log ratio that a paired t test finds in `count` pairs with `POWER`.

    `spread` is the standard deviation of the log ratios; `count` is at least 2. The function solves
    P(T > t(1 - LEVEL/2, n - 1)) = POWER for the shift of a noncentral t, and multiplies that by
    spread ÷ sqrt(n). The other tail, below 0.0001 there, is neglected.

    Source: J. Cohen, "Statistical Power Analysis for the Behavioral Sciences", 2nd edition, 1988,
    chapter 2.
    """
    freedom = count - 1
    critical = float(stats.t.ppf(1 - LEVEL / 2, freedom))

    def lacking(shift: float) -> float:
        return POWER - float(stats.nct.sf(critical, freedom, shift))

    return float(optimize.brentq(lacking, 0.0, 100.0)) * spread / math.sqrt(count)


def check(noise: Noise) -> Finding:
    """Check whether the mean difference of A from B is 0, and is known well enough."""
    mean = noise.mean
    seen = (
        f"the same thing measured twice differs by {100 * mean.estimate:+.1f} % "
        f"({100 * mean.low:+.1f} % to {100 * mean.high:+.1f} %, {noise.pairs} pairs)"
    )
    known_to = max(abs(mean.low), abs(mean.high))
    if known_to > TOO_NOISY:
        return Finding(
            NAME,
            "warning",
            seen,
            "The machine is so noisy that this many samples cannot show a difference below "
            f"{100 * known_to:.0f} %.",
            "end other programs, then run todobatch doctor again, or for longer with --seconds",
        )
    if mean.low <= 0 <= mean.high:
        return Finding(NAME, "ok", seen)
    return Finding(
        NAME,
        "note",
        seen,
        "The interval should include 0. One in twenty does not, by chance. If it happens again, "
        "the speed of this machine changes too much for the intervals to hold.",
        "run todobatch doctor again, for a longer time",
    )


def _spread_factor(count: int, quantile: float) -> float:
    """Return one end of a standard deviation's interval, as a multiple of the deviation.

    Source: (n - 1) s² ÷ σ² has a chi-square distribution (W. G. Cochran, 1934).
    """
    freedom = count - 1
    return math.sqrt(freedom / float(stats.chi2.ppf(quantile, freedom)))


def _detectable(spread: float, pair_s: Seconds, seconds: Seconds) -> Detectable:
    count = int(seconds / pair_s)
    if count < LEAST_PAIRS:
        return Detectable(seconds, count, None)
    return Detectable(seconds, count, math.expm1(smallest_effect(spread, count)))


def _shape(sampler: Sampler, cell: Cell) -> WorkloadShape:
    """Return the size of a sample that takes about `SAMPLE_S` seconds."""
    first = measure(sampler, cell, WorkloadShape(cell.workload, BATCHES, FIRST_TASKS // BATCHES))
    # CPU time is used, because a busy machine makes wall time longer.
    tasks = min(MOST_TASKS, max(BATCHES, SAMPLE_S / max(first.cpu_s, 1e-3) * first.tasks))
    return WorkloadShape(cell.workload, BATCHES, round(tasks / BATCHES))
