"""Summarise the cells of a run, compare them, and find the fastest approach of each workload."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.stats import evidence
from todobatch.lab.stats.estimate import (
    CONFIDENCE,
    GoodSamples,
    geometric_mean,
    good_samples,
    log_ratios,
    mean,
    p_value,
    ratio_of,
    verdict_of,
)
from todobatch.lab.stats.holm import holm_levels
from todobatch.lab.stats.reasons import Analysis, approach_of, reasons, sentence
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
    """Return the name of an approach, which for threads depends on the GIL state."""
    if executor == "threads":
        return "threads (GIL)" if gil_enabled else "free-threads"
    if executor in {"stealing", "elastic"}:
        return f"{executor} (GIL)" if gil_enabled else executor
    return executor


def summarise(run: Run) -> list[CellSummary]:
    """Summarise every cell that has a good sample, in the plan's order."""
    good = good_samples(run)
    voids = Counter(sample.cell for sample in run.samples if sample.void is not None)
    cpus = cpus_of(run)
    planned = dict.fromkeys((*run.meta.plan.cells, *good))
    return [_summary(good, cell, voids[cell], cpus) for cell in planned if good.get(cell)]


def cpus_of(run: Run) -> int:
    """Return the number of CPUs of the run: its affinity mask, or its cgroup's quota if smaller."""
    available = int(run.meta.machine.get("cpus_available") or 1)
    quota = run.meta.machine.get("cpu_quota")
    return available if not quota else max(1, min(available, math.ceil(quota)))


def compare_cells(run: Run, a: Cell, b: Cell) -> Comparison:
    """Compare two cells: wall time of `b` ÷ that of `a`, paired by block; above 1, `a` is faster.

    Without a common block the ratio is NaN and the verdict ``'inconclusive'``.
    """
    good = good_samples(run)
    logs = log_ratios(good.get(a, {}), good.get(b, {}))
    return _compare(a, b, logs, 1 - CONFIDENCE, rule_of(run))


def winners(run: Run) -> list[Winner]:
    """Find the fastest approach of every workload, across interpreters; start-up time not counted.

    The verdict is ``'faster'`` when the best cell is faster than every cell of every other
    approach. Other numbers of workers of the same approach may be as fast.
    """
    good = good_samples(run)
    summaries = summarise(run)
    return [
        _winner(run, good, [each for each in summaries if each.cell.workload == workload])
        for workload in dict.fromkeys(each.cell.workload for each in summaries)
    ]


@dataclass(frozen=True, slots=True)
class Rule:
    """How a p value and a verdict are computed from paired log-ratios."""

    p: Callable[[Sequence[float]], float]
    """Computes a p value from log-ratios."""
    verdict: Callable[[Sequence[float], float], Verdict]
    """Computes a verdict from log-ratios and a level."""


FIXED = Rule(p_value, lambda logs, level: verdict_of(geometric_mean(logs, 1 - level)))
"""The rule for plans without a target, whose number of blocks is fixed beforehand."""
ANY_TIME = Rule(lambda logs: min(evidence.p_value(logs), evidence.p_beyond(logs)), evidence.verdict)
"""The rule for plans with a target, which end when the verdicts are reached."""


def rule_of(run: Run) -> Rule:
    """Return the rule that is valid for a run."""
    return ANY_TIME if run.meta.plan.target else FIXED


def against_field(
    good: GoodSamples, best: Cell, field: Iterable[Cell], rule: Rule = FIXED
) -> dict[Cell, Comparison]:
    """Compare `best` with every cell of the field, with Holm's correction for their number.

    Verdicts are at the level of `holm_levels`; the interval beside each is the ordinary 95 %.

    The best cell is chosen by the same data, which needs no further correction. It has to beat
    every other cell, and so the truly best one. Source: intersection-union test (Berger, 1982).
    """
    logs = {cell: log_ratios(good.get(best, {}), good.get(cell, {})) for cell in field}
    levels = holm_levels({cell: rule.p(each) for cell, each in logs.items()})
    return {cell: _compare(best, cell, logs[cell], level, rule) for cell, level in levels.items()}


def undecided(run: Run, workload: str, target: Ratio) -> tuple[Cell, ...]:
    """Return the cells of a workload that need more samples; empty when all are settled.

    These are the fastest cell so far and the cells whose comparison with it is not settled
    (`evidence.settled`). Each comparison has an equal share of the level (Bonferroni), which is at
    least as strict as the verdict will be.
    """
    good = good_samples(run)
    cells = [
        each for each in summarise(run) if each.cell.workload == workload and good.get(each.cell)
    ]
    if len(cells) < 2:
        return tuple(each.cell for each in cells)  # a single cell has nothing to compare with
    best, *others = (each.cell for each in _standing(good, cells, ANY_TIME)[0])
    level = (1 - CONFIDENCE) / len(others)
    unsure = [
        cell
        for cell in others
        if not evidence.settled(log_ratios(good[best], good[cell]), level, target)
    ]
    return (best, *unsure) if unsure else ()


def rank(good: GoodSamples, cells: Sequence[CellSummary]) -> list[CellSummary]:
    """Sort the cells of one workload, fastest first, by their ratio to the cell with most blocks.

    Mean times would mislead: some cells have fewer blocks than others, and the machine drifts.
    """
    reference = good[max(cells, key=lambda each: len(good[each.cell])).cell]

    def behind(each: CellSummary) -> float:
        logs = log_ratios(reference, good[each.cell]) or [level(good[each.cell])]
        return ratio_of(logs).estimate

    def level(samples: Mapping[int, Sample]) -> float:  # a rough guess without a common block
        means = [mean([each.wall_s for each in by.values()]) for by in (samples, reference)]
        return math.log(means[0].estimate / means[1].estimate)

    return sorted(cells, key=behind)


def _winner(run: Run, good: GoodSamples, cells: Sequence[CellSummary]) -> Winner:
    ranked, compared = _standing(good, cells, rule_of(run))
    best, *others = ranked
    tied = tuple(each for each in others if compared[each.cell].verdict != "faster")
    outright = bool(others) and all(approach_of(each) == approach_of(best) for each in tied)
    analysis = Analysis(good, tuple(ranked), compared, cpus_of(run))
    return Winner(
        workload=best.cell.workload,
        verdict="faster" if outright else "inconclusive",
        best=best,
        tied=tied,
        sentence=sentence(analysis, tied, outright=outright),
        reasons=reasons(analysis),
    )


def _standing(
    good: GoodSamples, cells: Sequence[CellSummary], rule: Rule
) -> tuple[list[CellSummary], dict[Cell, Comparison]]:
    """Return the cells, fastest first, and the comparisons of the first with all others."""
    ranked = rank(good, cells)
    compared = against_field(good, ranked[0].cell, [each.cell for each in ranked[1:]], rule)
    beaten_by = [each for each in ranked[1:] if compared[each.cell].verdict == "slower"]
    if beaten_by:  # a paired comparison overrules the ranking
        first = min(beaten_by, key=lambda each: compared[each.cell].ratio.estimate)
        ranked = [first, *(each for each in ranked if each is not first)]
        compared = against_field(good, first.cell, [each.cell for each in ranked[1:]], rule)
    return ranked, compared


def _compare(a: Cell, b: Cell, logs: Sequence[float], level: float, rule: Rule) -> Comparison:
    """Return a comparison from paired log-ratios; NaN and ``'inconclusive'`` without any."""
    if not logs:
        return Comparison(a, b, Estimate(math.nan, math.nan, math.nan), "inconclusive", 0)
    return Comparison(a, b, ratio_of(logs), rule.verdict(logs, level), len(logs))


def _summary(good: GoodSamples, cell: Cell, voids: int, cpus: int) -> CellSummary:
    samples = list(good[cell].values())
    wall = mean([each.wall_s for each in samples])
    cpu = mean([each.cpu_s for each in samples])
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
        peak_bytes=mean([float(each.peak_bytes) for each in samples]),
        pool_start_s=mean([each.pool_start_s for each in samples]),
        cold_s=mean([each.pool_start_s + each.wall_s for each in samples]),
        cpu_use=cpu.estimate / (wall.estimate * cpus),
        speedup=speedup,
        efficiency=None if speedup is None else _scale(speedup, 1 / min(cell.workers, cpus)),
    )


def _speedup(good: GoodSamples, cell: Cell) -> Estimate | None:
    """Return the speed-up over sequential on the same interpreter; None without a common block.

    A common formula, (mean time of a worker × workers) ÷ total time, is wrong. With a GIL a
    worker's time includes waiting for the others, so that formula shows overlap.
    """
    if cell.executor == SEQUENTIAL:
        return Estimate(1.0, 1.0, 1.0)
    base = good.get(Cell(cell.workload, cell.interpreter, SEQUENTIAL, 1), {})
    logs = log_ratios(good[cell], base)
    return ratio_of(logs) if logs else None


def _scale(estimate: Estimate, factor: Ratio) -> Estimate:
    return Estimate(estimate.estimate * factor, estimate.low * factor, estimate.high * factor)
