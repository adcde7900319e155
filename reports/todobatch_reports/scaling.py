"""How speed depends on workers: Amdahl's law, the gain of each step, and idle time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from scipy.stats import t as student

from todobatch.lab.stats.verdict import compare_cells
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import CellSummary, Comparison, Estimate, Sample
from todobatch.units import Ratio, Seconds
from todobatch_reports.frames import span_frame

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AmdahlFit:
    """The serial fraction that explains measured speed-ups best, and how well it explains them.

    `residual` is the root mean square of measured minus fitted speed-up. A large one means that a
    serial part is not what limits this approach. `serial` has a NaN interval where the fit ends at
    0 or 1, because the error of a bounded estimate is not symmetric there.
    """

    serial: Estimate
    residual: Ratio
    points: int

    @property
    def limit(self) -> Ratio:
        """The speed-up that no number of workers exceeds: 1 ÷ serial fraction."""
        return math.inf if self.serial.estimate == 0 else 1 / self.serial.estimate


def amdahl(workers: Floats, serial: float) -> Floats:
    """Return the speed-up of `workers` workers if the fraction `serial` cannot run in parallel.

    Source: G. M. Amdahl, "Validity of the single processor approach to achieving large scale
    computing capabilities", AFIPS 1967: S(n) = 1 / (s + (1 - s) / n).
    """
    return 1.0 / (serial + (1.0 - serial) / workers)


def fit_amdahl(workers: Sequence[int], speedups: Sequence[Ratio], *, cpus: int) -> AmdahlFit | None:
    """Fit the serial fraction by least squares to the samples with no more workers than CPUs.

    Amdahl's law does not cover workers that share a CPU. Returns None if fewer than three samples
    have more than one worker.
    """
    n = np.asarray(workers, dtype=float)
    s = np.asarray(speedups, dtype=float)
    usable = np.isfinite(s) & (n <= cpus)
    n, s = n[usable], s[usable]
    parallel = n > 1  # with one worker the speed-up is 1 for any fraction
    n, s = n[parallel], s[parallel]
    if len(n) < 3:
        return None
    (serial,), covariance = curve_fit(amdahl, n, s, p0=[0.5], bounds=(0.0, 1.0))
    residual = float(np.sqrt(np.mean((s - amdahl(n, serial)) ** 2)))
    estimate = _interval(float(serial), float(covariance[0, 0]), len(n) - 1)
    return AmdahlFit(serial=estimate, residual=residual, points=len(n))


def _interval(value: float, variance: float, freedom: int) -> Estimate:
    # The optimiser stops slightly before a bound.
    at_bound = value < 1e-6 or value > 1 - 1e-6
    value = round(value) if at_bound else value
    if at_bound or not math.isfinite(variance):
        return Estimate(float(value), math.nan, math.nan)
    half = float(student.ppf(0.975, freedom)) * math.sqrt(variance)
    return Estimate(value, max(0.0, value - half), min(1.0, value + half))


@dataclass(frozen=True, slots=True)
class Step:
    """The step from one number of workers to the next; above 1, more workers were faster."""

    summary: CellSummary
    fewer: int
    more: int
    comparison: Comparison

    def beyond(self, cpus: int) -> bool:
        """Return whether the step ends with more workers than CPUs."""
        return self.more > cpus


def steps(run: Run, line: Sequence[CellSummary]) -> list[Step]:
    """Compare each number of workers with the next, along cells that differ in workers only."""
    ordered = sorted(line, key=lambda summary: summary.cell.workers)
    return [
        Step(more, less.cell.workers, more.cell.workers, compare_cells(run, more.cell, less.cell))
        for less, more in pairwise(ordered)
    ]


def first_without_gain(line: Sequence[Step]) -> Step | None:
    """Return the first step whose verdict is not ``'faster'``, or None."""
    return next((step for step in line if step.comparison.verdict != "faster"), None)


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly one sample's work was spread over its workers.

    `imbalance` is the busiest worker's time ÷ the mean of all − 1; 0 is even. It is the percent
    imbalance metric of O. Pearce et al., "Quantifying the effectiveness of load balance
    algorithms", ICS 2012. `idle` is the share of workers × wall time with no batch.
    """

    busy_s: dict[str, Seconds]
    batches: dict[str, int]
    imbalance: float
    idle: float
    last_worker: str
    last_end_s: Seconds
    slowest_batch: int
    slowest_batch_s: Seconds


def balance(sample: Sample) -> Balance | None:
    """Compute the balance of one sample from its spans; None if it has none."""
    if not sample.spans:
        return None
    frame = span_frame(sample)
    frame["took_s"] = frame["end_s"] - frame["start_s"]
    by_worker = frame.groupby("worker")
    busy = {str(worker): covered(spans) for worker, spans in by_worker}
    # A worker that never got a batch has no span, but it counts.
    workers = max(sample.workers, len(busy))
    mean = sum(busy.values()) / workers
    slowest = frame.iloc[int(frame["took_s"].argmax())]
    return Balance(
        busy_s=busy,
        batches={str(worker): int(value) for worker, value in by_worker.size().items()},
        imbalance=max(busy.values()) / mean - 1 if mean else 0.0,
        idle=max(0.0, 1 - sum(busy.values()) / (workers * sample.wall_s)),
        last_worker=str(frame["worker"].iloc[int(frame["end_s"].argmax())]),
        last_end_s=float(frame["end_s"].max()),
        slowest_batch=int(slowest["batch"]),
        slowest_batch_s=float(slowest["took_s"]),
    )


def covered(spans: pd.DataFrame) -> Seconds:
    """Return the time in which at least one span ran: coroutines of one worker overlap."""
    total, end = 0.0, -math.inf
    for start, stop in zip(spans["start_s"], spans["end_s"], strict=True):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
