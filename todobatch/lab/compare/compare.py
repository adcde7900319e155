"""Two runs against each other: what became slower, by how much, and how sure that is.

Method. Logarithms of wall times are compared, cell by cell, in one of three ways:

* ``paired``: the same-numbered blocks of both runs were taken at the same time, so their ratio is
  free of the machine's drift (paired t: Student, 1908; see `todobatch.lab.stats.estimate`);
* ``welch``: they were taken at different times (Welch's t, see `Unpaired`);
* ``welch with controls``: the same, where both runs timed a control load around each block and the
  cell computes: the logarithm of the block's control time is subtracted first. That is the ratio
  of the cell's time to the control's, so a machine that is slower by a factor drops out.

Verdicts are at Holm's corrected level over all cells; the interval beside one is that of 95 %.
docs/how-to/compare.md says for people what that can and cannot tell.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import stats

from todobatch.errors import UsageError
from todobatch.lab.compare.sides import Point, Series, Side
from todobatch.lab.stats.estimate import CONFIDENCE, judge, mean_log, p_value
from todobatch.lab.stats.holm import holm_levels
from todobatch.lab.store.schema import Cell, Estimate, Verdict
from todobatch.units import Ratio, Seconds

SAME_TIME_WITHIN: Seconds = 60.0
"""Samples of two runs are a pair when they began within this and the longer one's life."""
COMPUTES = 0.5
"""CPU seconds ÷ wall seconds from which a cell's time follows the CPU's speed."""

Method: TypeAlias = Literal["paired", "welch", "welch with controls"]


@dataclass(frozen=True, slots=True)
class Paired:
    """Logarithms of ratios, one a pair. Source: Student (1908), by `lab.stats.estimate`."""

    logs: tuple[float, ...]
    method: Method = "paired"

    def ratio(self, confidence: float = CONFIDENCE) -> Estimate:
        """The geometric mean of B ÷ A with its interval."""
        return mean_log(self.logs, confidence)

    def p_value(self) -> float:
        """Two-sided, for a ratio of 1."""
        return p_value(self.logs)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Logarithms of two independent groups, whose spreads may differ.

    Source: Welch, "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34, 1947: standard error sqrt(s²a/na + s²b/nb), with the
    degrees of freedom of Welch and Satterthwaite (1946),
    (s²a/na + s²b/nb)² ÷ ((s²a/na)²/(na-1) + (s²b/nb)²/(nb-1)).
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    method: Method = "welch"

    def ratio(self, confidence: float = CONFIDENCE) -> Estimate:
        """The ratio of geometric means, B ÷ A, with its interval; NaN bounds for a single value."""
        mean = self._mean()
        error, freedom = self._error()
        half = 0.0 if error == 0 else error * float(stats.t.ppf((1 + confidence) / 2, freedom))
        try:
            return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
        except OverflowError:
            return _anything(mean)

    def p_value(self) -> float:
        """Two-sided, for a ratio of 1; 1 for a single value."""
        mean = self._mean()
        error, freedom = self._error()
        if math.isnan(error):
            return 1.0
        if error == 0:
            return 0.0 if mean else 1.0
        return 2 * float(stats.t.sf(abs(mean) / error, freedom))

    def _mean(self) -> float:
        return math.fsum(self.b) / len(self.b) - math.fsum(self.a) / len(self.a)

    def _error(self) -> tuple[float, float]:
        """Standard error of the difference, and its degrees of freedom."""
        if min(len(self.a), len(self.b)) < 2:
            return math.nan, math.nan
        parts = [
            (float(np.var(group, ddof=1)) / len(group), len(group)) for group in (self.a, self.b)
        ]
        total = math.fsum(part for part, _ in parts)
        if total == 0:
            return 0.0, math.inf
        # By shares, so that squares of tiny variances do not vanish.
        freedom = 1 / math.fsum((part / total) ** 2 / (count - 1) for part, count in parts)
        return math.sqrt(total), freedom


Contrast: TypeAlias = Paired | Unpaired


@dataclass(frozen=True, slots=True)
class Row:
    """One cell in both runs. `ratio` is B ÷ A: of wall time, or of efficiency."""

    name: str
    cell: Cell | None  # None: a benchmark of pyperf
    ratio: Estimate
    verdict: Verdict  # of B: a longer time, or a lower efficiency, is 'slower'
    samples: tuple[int, int]
    pairs: int | None  # None: not paired
    method: Method

    @property
    def significant(self) -> bool:
        """Whether there is a difference to act on, at the corrected level."""
        return self.verdict in {"faster", "slower"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a comparison found. `rows` have the largest effect first, `differences` was forced.

    `efficiency` is the same for the cells with more than one worker that have a sequential run.
    """

    a: Side
    b: Side
    rows: tuple[Row, ...]
    efficiency: tuple[Row, ...]
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """What was asked of a comparison, and which cells failed it."""

    option: str  # as it was asked for
    limit: Ratio
    workers: int | None
    checked: int
    undecided: int
    failed: tuple[str, ...]


def compare(a: Side, b: Side, *, force: bool = False) -> Outcome:
    """Compare `b`, the new one, with `a`, the baseline.

    Raises UsageError for two kinds, for nothing in common, and, unless forced, for what must be
    the same and is not.
    """
    _refuse_two_kinds(a, b)
    common = [name for name in a.series if name in b.series]
    if not common:
        raise UsageError(
            f"they have nothing in common: A has {_some(a.series)}, B has {_some(b.series)}",
            place=f"{a.label} and {b.label}",
            remedy="measure the same workloads, interpreters, executors and workers in both",
        )
    found = differences(a, b, common)
    if found and not force:
        raise UsageError(
            "these cannot be compared: " + "; ".join(found),
            place=f"{a.label} and {b.label}",
            remedy="measure both in the same way, or compare all the same with --force",
        )
    return Outcome(
        a=a,
        b=b,
        rows=_rows(a, b, {name: _wall(a, b, name) for name in common}, slower_is_more=True),
        efficiency=_rows(a, b, _efficiencies(a, b, common), slower_is_more=False),
        only_in_a=tuple(name for name in a.series if name not in b.series),
        only_in_b=tuple(name for name in b.series if name not in a.series),
        differences=tuple(found),
    )


def differences(a: Side, b: Side, common: Iterable[str]) -> list[str]:
    """What both sides tell, and tell differently: of machine, plan, and what is in common."""
    facts_a, facts_b = dict(a.facts), dict(b.facts)
    for name in common:
        facts_a.update(a.series[name].facts)
        facts_b.update(b.series[name].facts)
    return [
        f"{fact}: {_short(facts_a[fact])} in A, {_short(facts_b[fact])} in B"
        for fact in facts_a
        if fact in facts_b and facts_a[fact] != facts_b[fact]
    ]


def judge_all(contrasts: Mapping[str, Contrast]) -> dict[str, Verdict]:
    """Whether each ratio is above 1 (``'faster'``) or below, corrected for their number (Holm)."""
    levels = holm_levels({name: contrast.p_value() for name, contrast in contrasts.items()})
    return {name: judge(contrasts[name].ratio(1 - level)) for name, level in levels.items()}


def pairs_of(a: Series, b: Series) -> list[tuple[Point, Point]]:
    """Points of the same block that were taken at the same time; none when most were not."""
    mine, others = _by_block(a), _by_block(b)
    same = [(mine[block], others[block]) for block in sorted(mine.keys() & others.keys())]
    close = [(x, y) for x, y in same if _at_the_same_time(x, y)]
    return close if 2 * len(close) > len(same) else []


def gate_on_slower(outcome: Outcome, limit: Ratio, option: str) -> Gate:
    """Fails for cells that are surely slower by more than the limit, interval and all."""
    rows = outcome.rows
    told = {"slower", "equivalent"}  # within 2 % may still be beyond a limit of 1 %
    failed = [r.name for r in rows if r.verdict in told and r.ratio.low > 1 + limit]
    undecided = sum(row.verdict == "cannot tell" for row in rows)
    return Gate(option, limit, None, len(rows), undecided, tuple(failed))


def gate_on_efficiency(outcome: Outcome, limit: Ratio, workers: int | None, option: str) -> Gate:
    """Fails for cells whose efficiency surely fell by more than the limit, interval and all.

    Raises UsageError where no cell has that number of workers and a sequential run beside it.
    """
    rows = [
        row
        for row in outcome.efficiency
        if workers is None or (row.cell is not None and row.cell.workers == workers)
    ]
    if not rows:
        many = "with several workers" if workers is None else f"with {workers} workers"
        raise UsageError(
            f"no cell {many} has a sequential run in the same blocks, in both",
            place="--fail-on-efficiency-drop",
            remedy="compare run folders in which such cells and sequential were measured",
        )
    told = {"slower", "equivalent"}
    failed = [r.name for r in rows if r.verdict in told and r.ratio.high < 1 - limit]
    undecided = sum(row.verdict == "cannot tell" for row in rows)
    return Gate(option, limit, workers, len(rows), undecided, tuple(failed))


def _refuse_two_kinds(a: Side, b: Side) -> None:
    if a.kind == b.kind:
        return
    raise UsageError(
        f"A is a {a.kind} and B is a {b.kind}",
        place=f"{a.label} and {b.label}",
        remedy="of a run folder name its pyperf file, such as RUN/pyperf/3.14.json",
    )


def _rows(
    a: Side, b: Side, contrasts: Mapping[str, Contrast], *, slower_is_more: bool
) -> tuple[Row, ...]:
    verdicts = judge_all(contrasts)
    rows = [
        Row(
            name=name,
            cell=a.series[name].cell,
            ratio=contrast.ratio(),
            verdict=_swapped(verdicts[name]) if slower_is_more else verdicts[name],
            samples=(len(a.series[name].points), len(b.series[name].points)),
            pairs=len(contrast.logs) if isinstance(contrast, Paired) else None,
            method=contrast.method,
        )
        for name, contrast in contrasts.items()
    ]
    return tuple(sorted(rows, key=lambda row: -abs(math.log(row.ratio.estimate))))


def _swapped(verdict: Verdict) -> Verdict:
    """`judge` takes more for better, and of a time more is slower."""
    if verdict == "faster":
        return "slower"
    return "faster" if verdict == "slower" else verdict


def _wall(a: Side, b: Side, name: str) -> Contrast:
    mine, others = a.series[name], b.series[name]
    if pairs := pairs_of(mine, others):
        return Paired(tuple(math.log(y.wall_s / x.wall_s) for x, y in pairs))
    if _computes(mine, others) and _has_controls(a, mine) and _has_controls(b, others):
        return Unpaired(_less_drift(a, mine), _less_drift(b, others), "welch with controls")
    return Unpaired(_logs(mine), _logs(others))


def _logs(series: Series) -> tuple[float, ...]:
    return tuple(math.log(point.wall_s) for point in series.points)


def _computes(a: Series, b: Series) -> bool:
    """Waiting does not follow the speed of the CPU, which is what the control loads tell."""
    shares = [point.cpu_share for point in (*a.points, *b.points)]
    return math.fsum(shares) / len(shares) >= COMPUTES


def _has_controls(side: Side, series: Series) -> bool:
    return all(point.block in side.controls for point in series.points)


def _less_drift(side: Side, series: Series) -> tuple[float, ...]:
    return tuple(
        math.log(point.wall_s) - side.controls[block]
        for point in series.points
        if (block := point.block) is not None
    )


def _efficiencies(a: Side, b: Side, common: Sequence[str]) -> dict[str, Contrast]:
    contrasts: dict[str, Contrast] = {}
    for name in common:
        cell = a.series[name].cell
        if cell is None or cell.workers < 2:
            continue
        mine, others = _log_efficiencies(a, cell), _log_efficiencies(b, cell)
        if mine and others:
            contrasts[name] = _efficiency(mine, others, pairs_of(a.series[name], b.series[name]))
    return contrasts


def _log_efficiencies(side: Side, cell: Cell) -> dict[int, float]:
    """Block -> log(speed-up ÷ min(workers, CPUs)); the block's drift is in neither.

    Source: speed-up over the number of processors, as in Hennessy and Patterson; here over the
    workers, or over the CPUs where these are fewer.
    """
    base = side.series.get(Cell(cell.workload, cell.interpreter, "sequential", 1).key)
    if base is None:
        return {}
    mine, bases = _by_block(side.series[cell.key]), _by_block(base)
    could = math.log(min(cell.workers, side.cpus))
    return {
        block: math.log(bases[block].wall_s / mine[block].wall_s) - could
        for block in sorted(mine.keys() & bases.keys())
    }


def _efficiency(
    a: Mapping[int, float], b: Mapping[int, float], pairs: Sequence[tuple[Point, Point]]
) -> Contrast:
    blocks = [x.block for x, _ in pairs if x.block is not None]
    logs = tuple(b[block] - a[block] for block in blocks if block in a and block in b)
    return Paired(logs) if logs else Unpaired(tuple(a.values()), tuple(b.values()))


def _anything(mean: float) -> Estimate:
    return Estimate(math.exp(mean), 0.0, math.inf)


def _by_block(series: Series) -> dict[int, Point]:
    return {point.block: point for point in series.points if point.block is not None}


def _at_the_same_time(x: Point, y: Point) -> bool:
    apart = abs(x.started_s - y.started_s)  # NaN, when one is not known, is never within
    return apart <= max(x.process_s, y.process_s) + SAME_TIME_WITHIN


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return (", ".join(listed[:3]) + more) if listed else "no sample to go by"


def _short(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 and value.isalnum() else value  # a digest
