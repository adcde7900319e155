"""How much two measurements of the same thing differ here, and what difference can be found at all.

An A/A run: one cell is measured as if it were two. Each pair is two samples of one block, one after
the other, and which of them is called A is drawn. What their ratio shows is noise: no difference is
there to be found. Its spread says how many pairs it takes to find a real one of a given size.

A pair's samples are next to each other in time. Two cells of a run with many cells are further
apart within their block, and drift adds to the spread: what is found here is the best case.
"""

import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy import optimize, stats

from todobatch.errors import MeasurementError
from todobatch.lab.doctor.checks import Finding
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.stats.estimate import mean_log
from todobatch.lab.store.schema import Cell, Estimate, Sample, WorkloadShape
from todobatch.units import Ratio, Seconds

NAME = "A/A run"
WORKLOAD = "example8"
SAMPLE_S: Seconds = 0.3
FIRST_TASKS = 200  # to learn what a task takes
BATCHES = 8
MOST_TASKS = 200_000  # as in calibrate: all of them are in memory
LEAST_PAIRS = 2  # fewer have no spread
TIMES_S: tuple[Seconds, ...] = (10.0, 60.0, 300.0, 1800.0)
POWER = 0.8  # a difference of that size is found 4 times out of 5
LEVEL = 0.05  # two-sided: where there is none, one is found 1 time out of 20


@dataclass(frozen=True, slots=True)
class Pair:
    """Two samples of the same thing, and how long both took, start of the processes included."""

    a_s: Seconds
    b_s: Seconds
    took_s: Seconds


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest difference that so much sampling finds; None where no two pairs fit in."""

    seconds: Seconds
    pairs: int
    effect: Ratio | None


@dataclass(frozen=True, slots=True)
class Noise:
    """What the pairs say. Ratios are fractions of one: 0.02 is 2 %."""

    workload: str
    interpreter: str
    pairs: int
    sample_s: Seconds
    pair_s: Seconds
    spread: Ratio  # standard deviation of the log ratios
    spread_low: Ratio  # its 95 % interval: few pairs know little of it
    spread_high: Ratio
    robust_spread: Ratio  # 1.4826 × their median distance from their median
    mean: Estimate  # difference of A from B; 0 is the truth
    detectable: tuple[Detectable, ...]

    def as_json(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return asdict(self)


def pairs(
    sampler: Sampler, interpreter: str, seconds: Seconds, draw: random.Random
) -> Iterator[Pair]:
    """Take pairs for so long, and at least two of them. Raises MeasurementError for a void one."""
    end = time.monotonic() + seconds
    cell = Cell(WORKLOAD, interpreter, SEQUENTIAL, 1)
    shape = _shape(sampler, cell)
    taken, longest = 0, 0.0
    while taken < LEAST_PAIRS or time.monotonic() + longest <= end:
        begun = time.monotonic()
        first, second = (_take(sampler, cell, shape, taken).wall_s for _ in range(2))
        took = time.monotonic() - begun
        a, b = (first, second) if draw.random() < 0.5 else (second, first)
        yield Pair(a, b, took)
        taken, longest = taken + 1, max(longest, took)


def summarise(taken: Sequence[Pair], interpreter: str) -> Noise | None:
    """What the pairs say together; None for fewer than two."""
    if len(taken) < LEAST_PAIRS:
        return None
    logs = [math.log(pair.a_s / pair.b_s) for pair in taken]
    middle = statistics.median(logs)
    ratio = mean_log(logs)
    spread = statistics.stdev(logs)
    pair_s = statistics.fmean(pair.took_s for pair in taken)
    return Noise(
        workload=WORKLOAD,
        interpreter=interpreter,
        pairs=len(taken),
        sample_s=statistics.median(each for pair in taken for each in (pair.a_s, pair.b_s)),
        pair_s=pair_s,
        spread=spread,
        spread_low=spread * _spread_factor(len(taken), 1 - LEVEL / 2),
        spread_high=spread * _spread_factor(len(taken), LEVEL / 2),
        # 1.4826 makes it the standard deviation's equal where all is normal (Hampel, 1974).
        robust_spread=1.4826 * statistics.median(abs(each - middle) for each in logs),
        mean=Estimate(ratio.estimate - 1, ratio.low - 1, ratio.high - 1),
        detectable=tuple(_detectable(spread, pair_s, seconds) for seconds in TIMES_S),
    )


def smallest_effect(spread: float, count: int) -> float:
    """The mean log ratio that a paired t test of `count` pairs finds with `POWER` at `LEVEL`.

    It solves P(T > t(1 - LEVEL/2, n - 1)) = POWER for the shift of a noncentral t, and scales that
    by spread ÷ sqrt(n); the other tail is below 0.0001 there. Source: J. Cohen, "Statistical Power
    Analysis for the Behavioral Sciences", 2nd edition, 1988, chapter 2. `count` is at least 2.
    """
    freedom = count - 1
    critical = float(stats.t.ppf(1 - LEVEL / 2, freedom))

    def lacking(shift: float) -> float:
        return POWER - float(stats.nct.sf(critical, freedom, shift))

    return float(optimize.brentq(lacking, 0.0, 100.0)) * spread / math.sqrt(count)


def judge(noise: Noise) -> Finding:
    """Whether the same thing measured twice came out the same, as it should."""
    mean = noise.mean
    seen = (
        f"the same thing measured twice differs by {100 * mean.estimate:+.1f} % "
        f"({100 * mean.low:+.1f} % to {100 * mean.high:+.1f} %, {noise.pairs} pairs)"
    )
    if mean.low <= 0 <= mean.high:
        return Finding(NAME, "ok", seen)
    return Finding(
        NAME,
        "note",
        seen,
        "The interval leaves out 0, the truth. One in twenty does by chance; if it does so again, "
        "intervals are too narrow for what this machine's speed does.",
        "run todobatch doctor again, for longer: --seconds 120",
    )


def _spread_factor(count: int, quantile: float) -> float:
    """An end of the interval of a standard deviation: (n - 1) s² ÷ σ² is chi-square (Cochran)."""
    freedom = count - 1
    return math.sqrt(freedom / float(stats.chi2.ppf(quantile, freedom)))


def _detectable(spread: float, pair_s: Seconds, seconds: Seconds) -> Detectable:
    count = int(seconds / pair_s)
    if count < LEAST_PAIRS:
        return Detectable(seconds, count, None)
    return Detectable(seconds, count, math.expm1(smallest_effect(spread, count)))


def _shape(sampler: Sampler, cell: Cell) -> WorkloadShape:
    """So many tasks that a sample takes about `SAMPLE_S`."""
    first = _take(sampler, cell, WorkloadShape(cell.workload, BATCHES, FIRST_TASKS // BATCHES))
    # Sized by CPU time, which a busy machine does not stretch.
    tasks = min(MOST_TASKS, max(BATCHES, SAMPLE_S / max(first.cpu_s, 1e-3) * first.tasks))
    return WorkloadShape(cell.workload, BATCHES, round(tasks / BATCHES))


def _take(sampler: Sampler, cell: Cell, shape: WorkloadShape, block: int = -1) -> Sample:
    sample = sampler.take(Slot(block, 0, cell), shape, number=-1)
    if sample.void is not None:
        raise MeasurementError(
            sample.void,
            place=f"{cell.workload} on {cell.interpreter}, sequential",
            remedy="it must run before noise can be measured: "
            f"todobatch run --generate 100 --workload {cell.workload} --executor sequential",
        )
    return sample
