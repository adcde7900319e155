"""Compare two runs: which cells became slower, by how much, and how sure that is.

Logarithms of wall times are compared, cell by cell, in one of three ways:

* ``paired``: blocks with the same number were measured at the same time, so the machine's drift is
  not in their ratio (`Paired`).
* ``welch``: they were measured at different times (`Unpaired`).
* ``welch with controls``: as ``welch``, but both runs timed a control load around each block, and
  the cell computes. The logarithm of the block's control time is subtracted first. So a machine
  that is slower by a factor makes no difference.

Verdicts are corrected for the number of cells (Holm); the interval beside each is the ordinary
95 %. docs/how-to/compare.md explains what this can show.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from todobatch.errors import UsageError
from todobatch.lab.compare.contrasts import Contrast, Method, Paired, Unpaired, verdicts_of
from todobatch.lab.compare.inputs import Measurements, Point, Series
from todobatch.lab.store.schema import Cell, Estimate, Verdict
from todobatch.units import Seconds

SAME_TIME_WITHIN: Seconds = 60.0
"""Two samples form a pair if their starts are this far apart, plus a lifetime, at most."""
COMPUTES = 0.5
"""A cell counts as computing if its CPU seconds ÷ wall seconds are at least this."""


@dataclass(frozen=True, slots=True)
class Row:
    """The comparison of one cell of both runs."""

    name: str
    cell: Cell | None
    """The cell; None for a pyperf benchmark."""
    ratio: Estimate
    """B ÷ A: the ratio of wall times or of efficiencies."""
    verdict: Verdict
    """The verdict on B: a longer time, or a lower efficiency, is 'slower'."""
    samples: tuple[int, int]
    """The numbers of samples of A and of B."""
    pairs: int | None
    """The number of pairs; None if the samples are not paired."""
    method: Method

    @property
    def significant(self) -> bool:
        """Whether B is significantly faster or slower, at the corrected level."""
        return self.verdict in {"faster", "slower"}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """The result of comparing two runs."""

    a: Measurements
    b: Measurements
    rows: tuple[Row, ...]
    """Wall times, largest effect first."""
    efficiency: tuple[Row, ...]
    """Efficiencies of the cells with several workers that have a sequential run."""
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    differences: tuple[str, ...]
    """Differences of machine or plan that were overridden with `force`."""


def compare(a: Measurements, b: Measurements, *, force: bool = False) -> RunComparison:
    """Compare `b`, the new run, with `a`, the baseline.

    Raises UsageError if one is a run folder and the other a pyperf file, or if they have nothing in
    common. Without `force` it also raises UsageError if machine, interpreters or plan differ.
    """
    if a.kind != b.kind:
        raise UsageError(
            f"A is a {a.kind} and B is a {b.kind}",
            place=f"{a.label} and {b.label}",
            remedy="name the pyperf file in the run folder, such as RUN/pyperf/3.14.json",
        )
    common = [name for name in a.series if name in b.series]
    if not common:
        raise UsageError(
            f"the two have nothing in common: A has {_some(a.series)}, B has {_some(b.series)}",
            place=f"{a.label} and {b.label}",
            remedy="measure the same workloads, interpreters, executors and workers in both",
        )
    found = differences(a, b, common)
    if found and not force:
        raise UsageError(
            "these cannot be compared, because they differ: " + "; ".join(found),
            place=f"{a.label} and {b.label}",
            remedy="measure both in the same way, or compare them anyway with `force=True`",
        )
    return RunComparison(
        a=a,
        b=b,
        rows=_rows(a, b, {name: _wall(a, b, name) for name in common}, slower_is_more=True),
        efficiency=_rows(a, b, _efficiencies(a, b, common), slower_is_more=False),
        only_in_a=tuple(name for name in a.series if name not in b.series),
        only_in_b=tuple(name for name in b.series if name not in a.series),
        differences=tuple(found),
    )


def differences(a: Measurements, b: Measurements, common: Iterable[str]) -> list[str]:
    """Return how A and B differ in machine, plan and common cells.

    A fact that only one of them has is not compared.
    """
    facts_a, facts_b = dict(a.facts), dict(b.facts)
    for name in common:
        facts_a.update(a.series[name].facts)
        facts_b.update(b.series[name].facts)
    return [
        f"{fact}: {_short(facts_a[fact])} in A, {_short(facts_b[fact])} in B"
        for fact in facts_a
        if fact in facts_b and facts_a[fact] != facts_b[fact]
    ]


def pairs_of(a: Series, b: Series) -> list[tuple[Point, Point]]:
    """Return the points of common blocks, if most were measured at the same time; else none."""
    mine, others = _by_block(a), _by_block(b)
    same = [(mine[block], others[block]) for block in sorted(mine.keys() & others.keys())]
    close = [(x, y) for x, y in same if _at_the_same_time(x, y)]
    return close if 2 * len(close) > len(same) else []


def _rows(
    a: Measurements, b: Measurements, contrasts: Mapping[str, Contrast], *, slower_is_more: bool
) -> tuple[Row, ...]:
    verdicts = verdicts_of(contrasts)
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
    """Swap ``'faster'`` and ``'slower'``: a ratio of times above 1 means slower."""
    if verdict == "faster":
        return "slower"
    return "faster" if verdict == "slower" else verdict


def _wall(a: Measurements, b: Measurements, name: str) -> Contrast:
    mine, others = a.series[name], b.series[name]
    if pairs := pairs_of(mine, others):
        return Paired(tuple(math.log(y.wall_s / x.wall_s) for x, y in pairs))
    if _computes(mine, others) and _has_controls(a, mine) and _has_controls(b, others):
        return Unpaired(_without_drift(a, mine), _without_drift(b, others), "welch with controls")
    return Unpaired(
        tuple(math.log(point.wall_s) for point in mine.points),
        tuple(math.log(point.wall_s) for point in others.points),
    )


def _computes(a: Series, b: Series) -> bool:
    """Return whether the time depends on the CPU's speed, as the control load's does."""
    shares = [point.cpu_share for point in (*a.points, *b.points)]
    return math.fsum(shares) / len(shares) >= COMPUTES


def _has_controls(measured: Measurements, series: Series) -> bool:
    return all(point.block in measured.controls for point in series.points)


def _without_drift(measured: Measurements, series: Series) -> tuple[float, ...]:
    return tuple(
        math.log(point.wall_s) - measured.controls[block]
        for point in series.points
        if (block := point.block) is not None
    )


def _efficiencies(a: Measurements, b: Measurements, common: Sequence[str]) -> dict[str, Contrast]:
    contrasts: dict[str, Contrast] = {}
    for name in common:
        cell = a.series[name].cell
        if cell is None or cell.workers < 2:
            continue
        mine, others = _log_efficiencies(a, cell), _log_efficiencies(b, cell)
        blocks = [x.block for x, _ in pairs_of(a.series[name], b.series[name])]
        both = [block for block in blocks if block in mine and block in others]
        if both:
            contrasts[name] = Paired(tuple(others[block] - mine[block] for block in both))
        elif mine and others:
            contrasts[name] = Unpaired(tuple(mine.values()), tuple(others.values()))
    return contrasts


def _log_efficiencies(measured: Measurements, cell: Cell) -> dict[int | None, float]:
    """Return log(speed-up ÷ min(workers, CPUs)) for each block, free of the machine's drift.

    Source: Hennessy and Patterson, "Computer Architecture", who divide by the number of processors.
    """
    base = measured.series.get(Cell(cell.workload, cell.interpreter, "sequential", 1).key)
    if base is None:
        return {}
    mine, bases = _by_block(measured.series[cell.key]), _by_block(base)
    could = math.log(min(cell.workers, measured.cpus))
    return {
        block: math.log(bases[block].wall_s / mine[block].wall_s) - could
        for block in sorted(mine.keys() & bases.keys())
    }


def _by_block(series: Series) -> dict[int, Point]:
    return {point.block: point for point in series.points if point.block is not None}


def _at_the_same_time(x: Point, y: Point) -> bool:
    apart = abs(x.started_s - y.started_s)  # NaN, if a time is unknown
    return apart <= max(x.process_s, y.process_s) + SAME_TIME_WITHIN


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return (", ".join(listed[:3]) + more) if listed else "no good sample"


def _short(value: str) -> str:
    return f"{value[:12]}…" if len(value) == 64 and value.isalnum() else value  # shortens a digest
