"""Explain why an approach is faster or slower, from what was measured.

Each cause is one function that looks at the measurements and returns a phrase or None.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter

from todobatch.lab.stats.estimate import GoodSamples, log_ratios, ratio_of
from todobatch.lab.store.schema import Cell, CellSummary, Comparison, Estimate, Sample
from todobatch.units import Seconds, show_count, show_percent, show_ratio, show_seconds

COMPUTES = 0.7
"""A sequential run that uses at least this many CPUs mostly computes."""
WAITS = 0.3
"""A sequential run that uses at most this many CPUs mostly waits."""
UNEXPLAINED = "the measurements show no sign of the GIL, copying or waiting"
WORTH_SAYING = 1.02
"""A cause is named only if the lower bound of its ratio is above this."""
START_UP_SHARE = 0.05
"""Start-up time is mentioned if it is at least this share of the wall time."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The cells of one workload, fastest first, and their comparisons with the fastest."""

    good: GoodSamples
    ranked: tuple[CellSummary, ...]
    compared: Mapping[Cell, Comparison]
    cpus: int

    @property
    def best(self) -> CellSummary:
        """The fastest cell."""
        return self.ranked[0]

    def sequential(self, interpreter: str) -> CellSummary | None:
        """Return the sequential cell of an interpreter; None if it was not measured."""
        for each in self.ranked:
            if each.cell.executor == "sequential" and each.cell.interpreter == interpreter:
                return each
        return None

    def ratio(
        self, top: Cell, bottom: Cell, figure: Callable[[Sample], Seconds]
    ) -> Estimate | None:
        """Return `top`'s `figure` ÷ `bottom`'s, paired by block.

        None without a common block, and when the ratio is not worth saying (`WORTH_SAYING`).
        """
        logs = log_ratios(self.good[bottom], self.good[top], figure)
        return ratio if logs and (ratio := ratio_of(logs)).low > WORTH_SAYING else None

    def best_of_each_approach(self) -> list[CellSummary]:
        """Return the fastest cell of every other approach on every interpreter."""
        first: dict[tuple[str, str], CellSummary] = {}
        for each in self.ranked:
            first.setdefault(approach_of(each), each)
        return [each for each in first.values() if each is not self.best]


def sentence(analysis: Analysis, tied: tuple[CellSummary, ...], *, outright: bool) -> str:
    """Return the verdict on one workload: what is fastest, by how much, and how sure that is."""
    best = analysis.best
    blocks = len(analysis.good[best.cell])
    head = f"{best.cell.workload}: "
    facts = f"{show_seconds(best.wall_s.estimate)}{_speedup(best)}"
    sure = (
        f"({show_count(blocks, 'block')}, 95 % intervals, "
        f"verdict corrected for {show_count(len(analysis.compared), 'comparison')})"
    )
    rivals = analysis.best_of_each_approach()
    if not rivals:
        return f"{head}only {name(best)} was measured, so there is nothing to compare it with."
    if outright:
        rival = min(rivals, key=lambda each: analysis.compared[each.cell].ratio.estimate)
        return (
            f"{head}{name(best)} is fastest: {facts}. The next approach, {name(rival)}, takes "
            f"{show_interval(analysis.compared[rival.cell].ratio)} as long {sure}."
        )
    if blocks < 2:
        return (
            f"{head}inconclusive, because one block shows no spread. {name(best)} had the shortest "
            f"time ({facts}). Measure more blocks."
        )
    one_each = {approach_of(each): each for each in reversed(tied)}
    close = [each for each in reversed(one_each.values()) if approach_of(each) != approach_of(best)]
    named = ", ".join(
        f"{name(each)} (takes {show_interval(analysis.compared[each.cell].ratio)} as long)"
        for each in close[:3]
    )
    more = f" and {len(close) - 3} more" if len(close) > 3 else ""
    return (
        f"{head}inconclusive. {name(best)} had the shortest time ({facts}), but the data do not "
        f"separate it from {named}{more} {sure}."
    )


def approach_of(summary: CellSummary) -> tuple[str, str]:
    """Return a cell's approach and interpreter."""
    return summary.approach, summary.cell.interpreter


def reasons(analysis: Analysis) -> tuple[tuple[str, str], ...]:
    """Return for every other approach its name, and by how much and why it is slower."""
    explained = [(name(each), _why(analysis, each)) for each in analysis.best_of_each_approach()]
    changed = _with_start_up(analysis)
    return tuple(explained if changed is None else [*explained, changed])


def name(summary: CellSummary) -> str:
    """Return a cell's name for people, such as ``'free-threads on 3.14t, 2 workers'``."""
    cell = summary.cell
    workers = "" if cell.executor == "sequential" else f", {show_count(cell.workers, 'worker')}"
    return f"{summary.approach} on {cell.interpreter}{workers}"


def show_interval(ratio: Estimate) -> str:
    """Format a ratio with its interval, such as ``'1.93× [1.90, 1.96]'``; ``?`` if unknown."""
    return f"{show_ratio(ratio.estimate)} [{_bound(ratio.low)}, {_bound(ratio.high)}]"


def _bound(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:.2f}" if value < 99.5 else ">99"  # the interval of two blocks can be huge


def _why(analysis: Analysis, loser: CellSummary) -> str:
    comparison = analysis.compared[loser.cell]
    behind = f"takes {show_interval(comparison.ratio)} as long"
    if comparison.verdict == "equivalent":
        behind += ", equivalent (within 2 %)"
    elif comparison.verdict != "faster":
        behind += (
            f", not significant among {len(analysis.compared)} comparisons"
            if comparison.ratio.low > 1
            else ", indistinguishable"
        )
    causes = [cause for find in _CAUSES if (cause := find(analysis, loser)) is not None]
    if not causes:
        causes = [UNEXPLAINED]
    if (start_up := _start_up(loser)) is not None:
        causes.append(start_up)
    return f"{behind}: {'; '.join(causes)}"


def _gil(analysis: Analysis, loser: CellSummary) -> str | None:
    if analysis.cpus < 2 or loser.cell.workers < 2 or _cpus_used(loser) > 1.2:
        return None
    if not _computes(analysis, loser):
        return None
    used = f"{_cpus_used(loser):.2f} CPUs together"
    if _threads_with_gil(loser):
        return f"the GIL: its {loser.cell.workers} threads used {used}"
    if loser.approach == "coroutines":
        return f"one thread: its {loser.cell.workers} coroutines compute in turn and used {used}"
    return None


def _threads_with_gil(summary: CellSummary) -> bool:
    return summary.approach.endswith("(GIL)")  # as `verdict.approach` names them


def _one_at_a_time(analysis: Analysis, loser: CellSummary) -> str | None:
    if loser.cell.workers > 1:
        return None
    if _waits(analysis, loser):
        return f"one wait at a time, its CPU idle {show_percent(1 - _cpus_used(loser))} of the time"
    return f"one batch at a time, on {_cpus_used(loser):.2f} of {analysis.cpus} CPUs"


def _waiting(analysis: Analysis, loser: CellSummary) -> str | None:
    mine, best = loser.cell.workers, analysis.best.cell.workers
    if mine < 2 or not _waits(analysis, loser):
        return None
    if mine < best:
        return f"waiting: it overlaps {mine} waits, the fastest {best}"
    return f"it mostly waits, and overlaps {mine} waits like the fastest" if mine == best else None


def _copying(analysis: Analysis, loser: CellSummary) -> str | None:
    base = analysis.sequential(loser.cell.interpreter)
    if base is None or loser.cell.workers < 2:
        return None
    ratio = analysis.ratio(loser.cell, base.cell, attrgetter("cpu_s"))
    if ratio is None:
        return None
    more = f"{show_ratio(ratio.estimate)} the CPU time of sequential"
    if loser.cell.executor in {"processes", "interpreters"}:
        return f"{more}: it copies to and from its workers, or the CPUs slow each other down"
    return f"{more}: its workers switch and share data, or the CPUs slow each other down"


def _idle_cpus(analysis: Analysis, loser: CellSummary) -> str | None:
    could = min(loser.cell.workers, analysis.cpus)
    if _threads_with_gil(loser) or loser.approach == "coroutines" or loser.cell.workers < 2:
        return None
    if not _computes(analysis, loser) or _cpus_used(loser) > 0.85 * could:
        return None
    return f"it used {_cpus_used(loser):.2f} of {could} CPUs"


def _interpreter(analysis: Analysis, loser: CellSummary) -> str | None:
    mine = analysis.sequential(loser.cell.interpreter)
    bests = analysis.sequential(analysis.best.cell.interpreter)
    if mine is None or bests is None or mine is bests or not _computes(analysis, loser):
        return None
    ratio = analysis.ratio(mine.cell, bests.cell, attrgetter("wall_s"))
    if ratio is None:
        return None
    return (
        f"its interpreter: a sequential run on {mine.cell.interpreter} takes "
        f"{show_interval(ratio)} as long as on {bests.cell.interpreter}"
    )


def _start_up(loser: CellSummary) -> str | None:
    share = loser.pool_start_s.estimate / loser.wall_s.estimate
    if share < START_UP_SHARE:
        return None
    return (
        f"start-up, not counted here, adds {show_seconds(loser.pool_start_s.estimate)} "
        f"({show_percent(share)})"
    )


_CAUSES = (_one_at_a_time, _gil, _waiting, _copying, _idle_cpus, _interpreter)


def _with_start_up(analysis: Analysis) -> tuple[str, str] | None:
    """Return a line about the fastest approach with start-up counted; None if it is the same."""
    first = min(analysis.ranked, key=_cold)
    best = analysis.best
    if approach_of(first) == approach_of(best):
        return None
    ratio = analysis.ratio(best.cell, first.cell, lambda each: each.wall_s + each.pool_start_s)
    if ratio is None:
        return None
    text = (
        f"{name(first)} is fastest with {show_seconds(_cold(first))}; {name(best)} takes "
        f"{show_interval(ratio)} as long"
    )
    return "with start-up counted", text


def _cold(summary: CellSummary) -> float:
    return summary.wall_s.estimate + summary.pool_start_s.estimate


def _cpus_used(summary: CellSummary) -> float:
    return summary.cpu_s.estimate / summary.wall_s.estimate


def _computes(analysis: Analysis, summary: CellSummary) -> bool:
    base = analysis.sequential(summary.cell.interpreter)
    return base is not None and _cpus_used(base) >= COMPUTES


def _waits(analysis: Analysis, summary: CellSummary) -> bool:
    base = analysis.sequential(summary.cell.interpreter)
    return base is not None and _cpus_used(base) <= WAITS


def _speedup(summary: CellSummary) -> str:
    if summary.speedup is None or summary.cell.executor == "sequential":
        return ""
    return f", {show_interval(summary.speedup)} as fast as sequential on the same interpreter"
