"""The production-readiness checklist of a run: each point with its state and evidence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from todobatch.lab.stats.reasons import UNEXPLAINED
from todobatch.lab.stats.verdict import compare_cells
from todobatch.lab.store.schema import Cell, CellSummary, Comparison, Winner
from todobatch.processors import WORKLOADS
from todobatch.units import show_count, show_percent, show_ratio
from todobatch_reports import scaling
from todobatch_reports.frames import Figures, lines
from todobatch_reports.tables import verdict, with_interval

State = Literal["met", "not met", "inconclusive", "not measured"]


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the readiness checklist; its evidence comes from `cells`."""

    question: str
    state: State
    evidence: str
    cells: tuple[Cell, ...] = ()


def checklist(figures: Figures) -> list[Point]:
    """Return all points, the most important one first."""
    return [
        three_times_on_four_cpus(figures),
        same_results(figures),
        no_races(figures),
        Point(
            "A failing processor does not affect the others",
            "not measured",
            "This run measured speed and injected no failures. The contract tests of the executors "
            "(make test) let a processor raise and check that the rest finishes.",
        ),
        limits_known(figures),
        bottleneck_known(figures),
        strategy_defined(figures),
    ]


def three_times_on_four_cpus(figures: Figures) -> Point:
    """Check for a speed-up of 3 or more with four workers on four CPUs."""
    question = "3× or more with 4 workers on 4 CPUs"
    cpu_bound = [s for s in figures.summaries if kind_of(s.cell.workload) == "cpu"]
    if figures.cpus < 4:
        text = f"This run had {show_count(figures.cpus, 'CPU')}."
        best = highest_speedup(s for s in cpu_bound if s.cell.workers <= figures.cpus)
        if best is None or best.speedup is None:
            return Point(question, "not measured", text)
        text += (
            f" The highest speed-up on them was {with_interval(best.speedup, show_ratio)}: "
            f"{figures.label(best)} with {show_count(best.cell.workers, 'worker')} on "
            f"{best.cell.workload}."
        )
        return Point(question, "not measured", text, (best.cell,))
    best = highest_speedup(s for s in cpu_bound if s.cell.workers == 4)
    if best is None or best.speedup is None:
        return Point(question, "not measured", "No processor-bound cell has 4 workers.")
    low, high = best.speedup.low, best.speedup.high
    state: State = "met" if low >= 3 else "not met" if high < 3 else "inconclusive"
    text = f"{figures.label(best)}: {with_interval(best.speedup, show_ratio)}"
    return Point(question, state, f"{text} on {best.cell.workload}.", (best.cell,))


def same_results(figures: Figures) -> Point:
    """Check that every approach gave the same output for the same batches."""
    question = "All approaches give the same results"
    good = [s for s in figures.run.samples if s.void is None]
    digests: dict[str, set[str]] = {}
    for sample in good:
        digests.setdefault(sample.workload, set()).add(sample.digest)
    differing = sorted(workload for workload, found in digests.items() if len(found) > 1)
    failed = sum(sample.failed for sample in good)
    if differing or failed:
        what = [f"outputs differ in {', '.join(differing)}"] if differing else []
        what += [f"{show_count(failed, 'task')} failed"] if failed else []
        return Point(question, "not met", f"{'; '.join(what).capitalize()}.")
    voids = len(figures.run.samples) - len(good)
    text = (
        f"{show_count(len(good), 'valid sample')} of {show_count(len(digests), 'workload')}: the "
        f"output of each workload had the same digest every time, and no task failed. "
        f"{show_count(voids, 'void sample')} left out."
    )
    return Point(question, "met", text)


def no_races(figures: Figures) -> Point:
    """Look for data races in the free-threaded samples. This is evidence, not proof."""
    question = "No data race was seen"
    free = [
        s
        for s in figures.run.samples
        if s.void is None and not s.gil_enabled and s.executor == "threads" and s.workers > 1
    ]
    if not free:
        return Point(question, "not measured", "No threads ran without a GIL in this run.")
    sequential: dict[str, set[str]] = {}
    for s in figures.run.samples:
        if s.executor == "sequential" and s.void is None:
            sequential.setdefault(s.workload, set()).add(s.digest)
    differing = {s.workload for s in free if s.digest not in sequential.get(s.workload, ())}
    if differing:
        text = f"Free-threaded output differs from sequential in {', '.join(sorted(differing))}."
        return Point(question, "not met", text)
    text = (
        f"{show_count(len(free), 'free-threaded sample')} with more than one worker gave exactly "
        "the sequential output. That is evidence, not proof: a race may be rare."
    )
    return Point(question, "met", text, (min(s.cell for s in free),))


def limits_known(figures: Figures) -> Point:
    """Check that the run measured more workers than CPUs."""
    question = "Scaling limits are known"
    steps = [
        step
        for workload in figures.workloads
        for line in lines(figures.of_workload(workload))
        for step in scaling.steps(figures.run, line)
        if step.beyond(figures.cpus)
    ]
    if not steps:
        return Point(question, "not measured", "No cell had more workers than CPUs.")
    decided = sum(step.comparison.verdict != "inconclusive" for step in steps)
    text = (
        f"Measured up to {show_count(max(step.more for step in steps), 'worker')} on "
        f"{show_count(figures.cpus, 'CPU')}. {decided} of {show_count(len(steps), 'step')} to more "
        "workers than CPUs have a clear result. "
        "The scaling page shows where each approach stops getting faster."
    )
    state: State = "met" if decided else "inconclusive"
    return Point(question, state, text, (steps[-1].summary.cell,))


def bottleneck_known(figures: Figures) -> Point:
    """Check that the measurements explain why each slower approach was slower."""
    question = "The bottleneck is identified"
    undecided = [
        winner.workload
        for winner in figures.winners
        if not winner.reasons or len(winner.tied) + 1 >= len(figures.of_workload(winner.workload))
    ]
    if undecided:
        text = f"No approach was clearly slower in {', '.join(undecided)}."
        return Point(question, "inconclusive", text)
    unexplained = [
        winner.workload
        for winner in figures.winners
        if any(UNEXPLAINED in why for _, why in winner.reasons)
    ]
    if unexplained:
        text = f"In {', '.join(unexplained)} the measurements do not explain a slower approach."
        return Point(question, "inconclusive", text)
    text = "The dashboard gives a measured reason for each slower approach."
    return Point(question, "met", text, tuple(w.best.cell for w in figures.winners))


def strategy_defined(figures: Figures) -> Point:
    """Check that each workload has one fastest approach."""
    question = "A deployment strategy is defined"
    undecided = [winner.workload for winner in figures.winners if winner.verdict != "faster"]
    if undecided:
        text = (
            f"No single approach is the fastest for {', '.join(undecided)}. Measure more blocks, "
            "or choose among the fastest by memory and by how they fail."
        )
        return Point(question, "inconclusive", text)
    text = "Each workload has one fastest approach; they are listed below by kind of work."
    return Point(question, "met", text, tuple(w.best.cell for w in figures.winners))


def kind_of(workload: str) -> str:
    """Return what a workload of the catalogue mostly does, or ``'own'``."""
    info = WORKLOADS.get(workload)
    return "own" if info is None else str(info.kind)


def winners_of_kind(figures: Figures, kind: str) -> list[Winner]:
    """Return the verdicts on the workloads of a kind."""
    return [winner for winner in figures.winners if kind_of(winner.workload) == kind]


@dataclass(frozen=True, slots=True)
class ThreadTax:
    """Compares a sequential run on a free-threaded build with one on a build with the GIL."""

    workload: str
    comparison: Comparison

    @property
    def sentence(self) -> str:
        """The result in words; the ratio is the GIL build's time ÷ the free-threaded build's."""
        ratio = with_interval(self.comparison.ratio, show_ratio)
        at = "it runs at " if self.comparison.verdict == "slower" else ""
        of = " of the speed" if self.comparison.verdict == "slower" else ""
        return f"{verdict(self.comparison.verdict)}: {at}{ratio}{of}"


def thread_tax(figures: Figures) -> list[ThreadTax]:
    """Return the cost of free-threading on one thread, for each workload with both builds."""
    found = []
    for workload in figures.workloads:
        base = [s for s in figures.of_workload(workload) if s.cell.executor == "sequential"]
        on = [s.cell for s in base if s.gil_enabled]
        off = [s.cell for s in base if not s.gil_enabled]
        pairs = [(a, b) for a in on for b in off if _build(figures, a) == _build(figures, b)]
        for gil, free in pairs[:1]:
            found.append(ThreadTax(workload, compare_cells(figures.run, free, gil)))
    return found


def _build(figures: Figures, cell: Cell) -> object:
    """Return the version and build options, which must be equal to isolate the GIL's effect."""
    facts = figures.run.meta.interpreters.get(cell.interpreter, {})
    return [facts.get(key) for key in ("version", "optimized_build", "lto_build", "debug_build")]


def chosen_workers(figures: Figures, workload: str) -> int:
    """Return the measured number of workers that is nearest to the number of CPUs."""
    measured = {s.cell.workers for line in lines(figures.of_workload(workload)) for s in line}
    fitting = [number for number in measured if 1 < number <= figures.cpus]
    return max(fitting) if fitting else min(measured, default=1)


def side_by_side(figures: Figures, workload: str) -> list[CellSummary]:
    """Return the sequential cells and those with `chosen_workers`, to compare resources."""
    workers = chosen_workers(figures, workload)
    cells = figures.of_workload(workload)
    return [s for s in cells if s.cell.executor == "sequential" or s.cell.workers == workers]


def memory_saving(figures: Figures, workload: str) -> str:
    """Return a sentence that compares the peak memory of free threads and processes, or nothing."""
    cells = [s for s in side_by_side(figures, workload) if not s.gil_enabled]
    threads = [s for s in cells if s.cell.executor == "threads"]
    processes = [s for s in cells if s.cell.executor == "processes"]
    if not threads or not processes or not processes[0].peak_bytes.estimate:
        return ""
    share = threads[0].peak_bytes.estimate / processes[0].peak_bytes.estimate
    workers = show_count(threads[0].cell.workers, "worker")
    return (
        f"On {workload} with {workers}, free threads used {show_percent(share)} of the peak memory "
        "of processes on the same interpreter."
    )


def highest_speedup(cells: Iterable[CellSummary]) -> CellSummary | None:
    """Return the cell with the highest speed-up, or None if none has one."""
    with_speedup = [(s.speedup.estimate, s) for s in cells if s.speedup is not None]
    return max(with_speedup, key=lambda pair: pair[0])[1] if with_speedup else None
