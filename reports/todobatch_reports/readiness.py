"""What the run says about going to production: each point met, not met or not measured, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from todobatch.lab.stats.reasons import UNEXPLAINED
from todobatch.lab.stats.verdict import compare_cells
from todobatch.lab.store.schema import Cell, CellSummary, Comparison, Winner
from todobatch.processors import WORKLOADS
from todobatch.units import show_percent, show_ratio
from todobatch_reports import scaling
from todobatch_reports.frames import Figures
from todobatch_reports.tables import at_workers, count, lines, with_interval

State = Literal["met", "not met", "inconclusive", "not measured"]


@dataclass(frozen=True, slots=True)
class Point:
    """One line of the readiness checklist; `cells` are those the evidence was read from."""

    question: str
    state: State
    evidence: str
    cells: tuple[Cell, ...] = ()


def checklist(figures: Figures) -> list[Point]:
    """All points, in the order in which they matter."""
    return [
        three_times_on_four_cpus(figures),
        same_results(figures),
        no_races(figures),
        Point(
            "A failing processor leaves the others alone",
            "not measured",
            "This run measured speed and injected no failure. The executors' contract suite "
            "(make test) is where a processor raises and the rest must finish.",
        ),
        limits_known(figures),
        bottleneck_known(figures),
        strategy_defined(figures),
    ]


def three_times_on_four_cpus(figures: Figures) -> Point:
    """C6's first: three times and more with four workers on four CPUs."""
    question = "3× and more with 4 workers on 4 CPUs"
    cpu_bound = _cpu_bound(figures)
    if figures.cpus < 4:
        best = _highest(s for s in cpu_bound if s.cell.workers <= figures.cpus)
        reached = ""
        if best is not None and best.speedup is not None:
            reached = (
                f" What it has was used: {figures.label(best)} reached "
                f"{with_interval(best.speedup, show_ratio)} with "
                f"{count(best.cell.workers, 'worker')} on {best.cell.workload}."
            )
        text = f"This machine gave the run {count(figures.cpus, 'CPU')}.{reached}"
        return Point(question, "not measured", text, (best.cell,) if best else ())
    best = _highest(s for s in cpu_bound if s.cell.workers == 4)
    if best is None or best.speedup is None:
        return Point(question, "not measured", "No processor-bound cell has 4 workers.")
    low, high = best.speedup.low, best.speedup.high
    state: State = "met" if low >= 3 else "not met" if high < 3 else "inconclusive"
    text = f"{figures.label(best)}: {with_interval(best.speedup, show_ratio)}"
    return Point(question, state, f"{text} on {best.cell.workload}.", (best.cell,))


def same_results(figures: Figures) -> Point:
    """Every approach gave the same output for the same batches."""
    question = "All approaches give the same results"
    good = [s for s in figures.run.samples if s.void is None]
    digests: dict[str, set[str]] = {}
    for sample in good:
        digests.setdefault(sample.workload, set()).add(sample.digest)
    split = sorted(workload for workload, found in digests.items() if len(found) > 1)
    failed = sum(sample.failed for sample in good)
    voids = len(figures.run.samples) - len(good)
    if split or failed:
        what = [f"outputs differ in {', '.join(split)}"] if split else []
        what += [f"{count(failed, 'task')} failed"] if failed else []
        return Point(question, "not met", f"{'; '.join(what).capitalize()}.")
    text = (
        f"{count(len(good), 'sample')} of {count(len(digests), 'workload')}: one digest for each "
        f"workload, no task failed. {count(voids, 'sample')} left out as void."
    )
    return Point(question, "met", text)


def no_races(figures: Figures) -> Point:
    """What the free-threaded samples say about races: evidence, never proof."""
    question = "No data race was seen"
    free = [
        s
        for s in figures.run.samples
        if s.void is None and not s.gil_enabled and s.executor == "threads" and s.workers > 1
    ]
    if not free:
        return Point(question, "not measured", "No threads ran without a GIL in this run.")
    agree = {s.workload for s in free if s.digest not in _sequential_digests(figures, s.workload)}
    if agree:
        text = f"Free-threaded output differs from sequential in {', '.join(sorted(agree))}."
        return Point(question, "not met", text)
    text = (
        f"{count(len(free), 'free-threaded sample')} with more than one worker gave exactly the "
        "sequential output. That is evidence and no proof: a race may be rare."
    )
    return Point(question, "met", text, tuple(sorted({s.cell for s in free}))[:1])


def limits_known(figures: Figures) -> Point:
    """Whether the run looked past the number of CPUs."""
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
    decided = [step for step in steps if step.comparison.verdict != "inconclusive"]
    most = max(step.more for step in steps)
    text = (
        f"Measured to {count(most, 'worker')} on {count(figures.cpus, 'CPU')}: of "
        f"{count(len(steps), 'step')} past the CPUs, the samples decide {len(decided)}. "
        "Where each approach stops gaining is on the scaling page."
    )
    state: State = "met" if decided else "inconclusive"
    return Point(question, state, text, (steps[-1].summary.cell,))


def bottleneck_known(figures: Figures) -> Point:
    """Whether each loser has a reason that was read from measurements."""
    question = "The bottleneck is identified"
    open_ = [
        winner.workload
        for winner in figures.winners
        if not winner.reasons or len(winner.tied) + 1 >= len(figures.of_workload(winner.workload))
    ]
    if open_:
        text = f"Nothing lost clearly in {', '.join(open_)}, so there is nothing to explain."
        return Point(question, "inconclusive", text)
    unexplained = [
        winner.workload
        for winner in figures.winners
        if any(UNEXPLAINED in why for _, why in winner.reasons)
    ]
    if unexplained:
        text = f"In {', '.join(unexplained)} an approach lost for no reason that was measured."
        return Point(question, "inconclusive", text)
    text = "Each approach that lost has a measured reason on the dashboard."
    return Point(question, "met", text, tuple(w.best.cell for w in figures.winners))


def strategy_defined(figures: Figures) -> Point:
    """Whether there is one answer for each workload."""
    question = "A deployment strategy is defined"
    open_ = [winner.workload for winner in figures.winners if winner.verdict != "faster"]
    if open_:
        text = (
            f"For {', '.join(open_)} the samples do not decide: no single fastest approach. "
            "Run more blocks, or choose among the tied by memory and by how they fail."
        )
        return Point(question, "inconclusive", text)
    text = "Each workload has one fastest approach; they are listed below by kind of work."
    return Point(question, "met", text, tuple(w.best.cell for w in figures.winners))


def kind_of(workload: str) -> str:
    """What a workload of the catalogue mostly does; a user's own is not known."""
    info = WORKLOADS.get(workload)
    return "own" if info is None else str(info.kind)


def winners_of_kind(figures: Figures, kind: str) -> list[Winner]:
    """The winner analyses of the workloads of a kind."""
    return [winner for winner in figures.winners if kind_of(winner.workload) == kind]


@dataclass(frozen=True, slots=True)
class ThreadTax:
    """Sequential on a free-threaded build against sequential with the GIL, same workload."""

    workload: str
    comparison: Comparison

    @property
    def sentence(self) -> str:
        """For people; the ratio is the GIL build's time ÷ the free-threaded build's."""
        ratio = self.comparison.ratio
        if self.comparison.verdict == "slower":
            return f"slower: it runs at {with_interval(ratio, show_ratio)} of the speed"
        if self.comparison.verdict == "faster":
            return f"faster: {with_interval(ratio, show_ratio)}"
        return f"{self.comparison.verdict}: {with_interval(ratio, show_ratio)}"


def thread_tax(figures: Figures) -> list[ThreadTax]:
    """What one thread pays for having no GIL, where the run has both kinds of interpreter."""
    found = []
    for workload in figures.workloads:
        base = [s for s in figures.of_workload(workload) if s.cell.executor == "sequential"]
        on = [s.cell for s in base if s.gil_enabled]
        off = [s.cell for s in base if not s.gil_enabled]
        pairs = [(a, b) for a in on for b in off if _version(figures, a) == _version(figures, b)]
        for gil, free in pairs[:1]:
            found.append(ThreadTax(workload, compare_cells(figures.run, free, gil)))
    return found


def _version(figures: Figures, cell: Cell) -> object:
    """What must be equal for the GIL to be the difference: the version and how it was built."""
    facts = figures.run.meta.interpreters.get(cell.interpreter, {})
    return [facts.get(key) for key in ("version", "optimized_build", "lto_build", "debug_build")]


def chosen_workers(figures: Figures, workload: str) -> int:
    """The number of workers that approaches are compared at: all CPUs, or the nearest measured."""
    measured = {
        line[i].cell.workers for line in _lines(figures, workload) for i in range(len(line))
    }
    fitting = [number for number in measured if 1 < number <= figures.cpus]
    return max(fitting) if fitting else min(measured, default=1)


def side_by_side(figures: Figures, workload: str) -> list[CellSummary]:
    """The cells that resource use is compared by: one number of workers, and sequential."""
    return at_workers(figures.of_workload(workload), chosen_workers(figures, workload))


def memory_saving(figures: Figures, workload: str) -> str:
    """One sentence: free threads against processes, by peak memory; empty where not measured."""
    cells = [s for s in side_by_side(figures, workload) if s.cell.executor != "sequential"]
    threads = [s for s in cells if s.cell.executor == "threads" and not s.gil_enabled]
    processes = [s for s in cells if s.cell.executor == "processes" and not s.gil_enabled]
    if not threads or not processes:
        return ""
    share = threads[0].peak_bytes.estimate / processes[0].peak_bytes.estimate
    workers = count(threads[0].cell.workers, "worker")
    return (
        f"On {workload} with {workers}, free threads held {show_percent(share)} of the peak memory "
        "of processes on the same interpreter."
    )


def _lines(figures: Figures, workload: str) -> list[list[CellSummary]]:
    return lines(figures.of_workload(workload))


def _cpu_bound(figures: Figures) -> list[CellSummary]:
    return [s for s in figures.summaries if kind_of(s.cell.workload) == "cpu"]


def _highest(cells: Iterable[CellSummary]) -> CellSummary | None:
    return max(cells, key=lambda s: s.speedup.estimate if s.speedup else 0.0, default=None)


def _sequential_digests(figures: Figures, workload: str) -> set[str]:
    return {
        s.digest
        for s in figures.run.samples
        if s.workload == workload and s.executor == "sequential" and s.void is None
    }
