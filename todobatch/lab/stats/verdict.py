"""Summaries, comparisons and the winner, computed from a run's samples when asked.

The statistics are in `estimate`, the explanations in `reasons`; here they are put together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.stats import evidence as sequential
from todobatch.lab.stats.estimate import (
    CONFIDENCE,
    Good,
    good_samples,
    judge,
    log_ratios,
    mean_log,
    measure,
    p_value,
    ratio_of,
)
from todobatch.lab.stats.holm import holm_levels
from todobatch.lab.stats.reasons import Analysis, reasons, sentence
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import (
    Cell,
    CellSummary,
    Comparison,
    Estimate,
    Sample,
    Verdict,
    Winner,
)
from todobatch.units import Ratio


def approach(executor: str, *, gil_enabled: bool) -> str:
    """What it is called, from what the workers reported: threads have two names (design rule 4)."""
    if executor == "threads":
        return "threads (GIL)" if gil_enabled else "free-threads"
    if executor in {"stealing", "elastic"}:
        return f"{executor} (GIL)" if gil_enabled else executor
    return executor


def summarise(run: Run) -> list[CellSummary]:
    """A summary of every cell that has a sample to go by, in the plan's order."""
    good = good_samples(run)
    voids: dict[Cell, int] = {}
    for sample in run.samples:
        if sample.void is not None:
            voids[sample.cell] = voids.get(sample.cell, 0) + 1
    cpus = cpus_of(run)
    planned = dict.fromkeys((*run.meta.plan.cells, *good))
    return [_summary(good, cell, voids.get(cell, 0), cpus) for cell in planned if good.get(cell)]


def cpus_of(run: Run) -> int:
    """CPUs that the run could use: its affinity mask, and the quota of its cgroup if smaller."""
    available = int(run.meta.machine.get("cpus_available") or 1)
    quota = run.meta.machine.get("cpu_quota")
    return available if not quota else max(1, min(available, math.ceil(quota)))


def compare_cells(run: Run, a: Cell, b: Cell) -> Comparison:
    """`a` against `b`: wall time of `b` ÷ that of `a`, paired by block; above 1, `a` is faster.

    Without a common block the ratio is NaN and the verdict ``'cannot tell'``.
    """
    good = good_samples(run)
    logs = log_ratios(good.get(a, {}), good.get(b, {}))
    return _compare(a, b, logs, 1 - CONFIDENCE, rule_of(run))


def winners(run: Run) -> list[Winner]:
    """The winner analysis of every workload, across interpreters, on wall time with the pool ready.

    The verdict is ``'faster'`` when the best cell beats every cell of every other approach; other
    numbers of workers of the same approach may be as fast.
    """
    good = good_samples(run)
    summaries = summarise(run)
    return [
        _winner(run, good, [each for each in summaries if each.cell.workload == workload])
        for workload in dict.fromkeys(each.cell.workload for each in summaries)
    ]


@dataclass(frozen=True, slots=True)
class Rule:
    """How paired log-ratios are judged."""

    p: Callable[[Sequence[float]], float]
    verdict: Callable[[Sequence[float], float], Verdict]
    """Log-ratios and a level: what can be said."""


FIXED = Rule(p_value, lambda logs, level: judge(mean_log(logs, 1 - level)))
"""For plans without a target: the number of blocks does not depend on what they say."""
ANY_TIME = Rule(
    lambda logs: min(sequential.p_value(logs), sequential.p_beyond(logs)), sequential.verdict
)
"""For plans with one: blocks were taken until something was decided."""


def rule_of(run: Run) -> Rule:
    """The one that holds for a run."""
    return ANY_TIME if run.meta.plan.target else FIXED


def against_field(
    good: Good, best: Cell, field: Iterable[Cell], rule: Rule = FIXED
) -> dict[Cell, Comparison]:
    """`best` against every cell of the field, with Holm's correction for so many comparisons.

    The verdict is at the level of `holm_levels`; the interval beside it is the ordinary 95 %.

    That the best is picked by the same data costs nothing: the outright winner has to beat every
    other cell, the truly best one included (an intersection-union test: Berger, 1982).
    """
    logs = {cell: log_ratios(good.get(best, {}), good.get(cell, {})) for cell in field}
    levels = holm_levels({cell: rule.p(each) for cell, each in logs.items()})
    return {cell: _compare(best, cell, logs[cell], level, rule) for cell, level in levels.items()}


def undecided(run: Run, workload: str, target: Ratio) -> tuple[Cell, ...]:
    """The cells of a workload between which more samples are asked for; none when it is settled.

    The one that came out first so far, and those whose comparison with it is not settled
    (`sequential.settled`), each at an equal share of the level (Bonferroni: no less strict than the
    verdict will be).
    """
    good = good_samples(run)
    cells = [
        each for each in summarise(run) if each.cell.workload == workload and good.get(each.cell)
    ]
    if len(cells) < 2:
        return tuple(each.cell for each in cells)  # nothing to compare: as often as was asked for
    best, *others = (each.cell for each in _standing(good, cells, ANY_TIME)[0])
    level = (1 - CONFIDENCE) / len(others)
    unsure = [
        cell
        for cell in others
        if not sequential.settled(log_ratios(good[best], good[cell]), level, target)
    ]
    return (best, *unsure) if unsure else ()


def rank(good: Good, cells: Sequence[CellSummary]) -> list[CellSummary]:
    """Cells of one workload, fastest first, by their ratios to the one that has most blocks.

    Not by mean times: some cells have fewer blocks than others, and the machine drifts.
    """
    reference = good[max(cells, key=lambda each: len(good[each.cell])).cell]

    def behind(each: CellSummary) -> float:
        logs = log_ratios(reference, good[each.cell]) or [level(good[each.cell])]
        return ratio_of(logs).estimate

    def level(samples: Mapping[int, Sample]) -> float:  # no common block: only roughly right
        means = [measure([each.wall_s for each in by.values()]) for by in (samples, reference)]
        return math.log(means[0].estimate / means[1].estimate)

    return sorted(cells, key=behind)


def _winner(run: Run, good: Good, cells: Sequence[CellSummary]) -> Winner:
    ranked, compared = _standing(good, cells, rule_of(run))
    best, *others = ranked
    tied = tuple(each for each in others if compared[each.cell].verdict != "faster")
    outright = bool(others) and all(_same_approach(each, best) for each in tied)
    analysis = Analysis(good, tuple(ranked), compared, cpus_of(run))
    return Winner(
        workload=best.cell.workload,
        verdict="faster" if outright else "cannot tell",
        best=best,
        tied=tied,
        sentence=sentence(analysis, tied, outright=outright),
        reasons=reasons(analysis),
    )


def _standing(
    good: Good, cells: Sequence[CellSummary], rule: Rule
) -> tuple[list[CellSummary], dict[Cell, Comparison]]:
    """The cells, best first, and the best compared with all the others."""
    ranked = rank(good, cells)
    compared = against_field(good, ranked[0].cell, [each.cell for each in ranked[1:]], rule)
    beaten_by = [each for each in ranked[1:] if compared[each.cell].verdict == "slower"]
    if beaten_by:  # by fewer blocks, but paired: the pairs count
        first = min(beaten_by, key=lambda each: compared[each.cell].ratio.estimate)
        ranked = [first, *(each for each in ranked if each is not first)]
        compared = against_field(good, first.cell, [each.cell for each in ranked[1:]], rule)
    return ranked, compared


def _compare(a: Cell, b: Cell, logs: Sequence[float], level: float, rule: Rule) -> Comparison:
    """The comparison that these paired log-ratios make; NaN and ``'cannot tell'`` for none."""
    if not logs:
        return Comparison(a, b, Estimate(math.nan, math.nan, math.nan), "cannot tell", 0)
    return Comparison(a, b, ratio_of(logs), rule.verdict(logs, level), len(logs))


def _same_approach(a: CellSummary, b: CellSummary) -> bool:
    return (a.approach, a.cell.interpreter) == (b.approach, b.cell.interpreter)


def _summary(good: Good, cell: Cell, voids: int, cpus: int) -> CellSummary:
    samples = list(good[cell].values())
    wall = measure([each.wall_s for each in samples])
    cpu = measure([each.cpu_s for each in samples])
    gil = any(each.gil_enabled for each in samples)
    speedup = _speedup(good, cell)
    return CellSummary(
        cell=cell,
        approach=approach(cell.executor, gil_enabled=gil),
        gil_enabled=gil,
        samples=len(samples),
        voids=voids,
        wall_s=wall,
        cpu_s=cpu,
        peak_bytes=measure([float(each.peak_bytes) for each in samples]),
        pool_start_s=measure([each.pool_start_s for each in samples]),
        cold_s=measure([each.pool_start_s + each.wall_s for each in samples]),
        cpu_use=cpu.estimate / (wall.estimate * cpus),
        speedup=speedup,
        efficiency=None if speedup is None else _scale(speedup, 1 / min(cell.workers, cpus)),
    )


def _speedup(good: Good, cell: Cell) -> Estimate | None:
    """Sequential's wall time ÷ this one's, same interpreter, batches and block; None without it.

    Never (mean time of one processor × processors) ÷ total, as the source document has it: with a
    GIL a processor's own time includes waiting for the others, so that shows overlap, not speed.
    """
    if cell.executor == SEQUENTIAL:
        return Estimate(1.0, 1.0, 1.0)
    base = good.get(Cell(cell.workload, cell.interpreter, SEQUENTIAL, 1), {})
    logs = log_ratios(good[cell], base)
    return ratio_of(logs) if logs else None


def _scale(estimate: Estimate, factor: Ratio) -> Estimate:
    return Estimate(estimate.estimate * factor, estimate.low * factor, estimate.high * factor)
