"""What a reader of a run must know beside its figures: `show` and the report say the same."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Literal

from todobatch.lab.measure.sample import worked
from todobatch.lab.stats.verdict import cpus_of, undecided
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Sample
from todobatch.units import show_count, show_percent

BUSY = 0.5  # of its CPUs in use by others before the first sample

Kind = Literal[
    "quick", "unfinished", "torn", "busy", "doctor", "inconclusive", "timed", "void", "idle",
    "affinity", "left out",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to know. `details` has a line for each case, such as each void sample."""

    kind: Kind
    text: str
    details: tuple[str, ...] = ()


def notes(run: Run, workloads: Collection[str]) -> Iterator[Note]:
    """Yield what must be known about the figures of these workloads, the gravest first."""
    plan = run.meta.plan
    samples = [each for each in run.samples if each.workload in workloads]
    if plan.mode == "quick":
        yield Note(
            "quick", "This was a quick run: intervals are wide. For more: todobatch bench --full"
        )
    if run.meta.ended is None:
        folder = quote(str(run.folder or run.meta.run_id))
        yield Note("unfinished", f"Unfinished. Resume it with: todobatch bench --resume {folder}")
    if run.torn:
        yield Note("torn", "The last line of samples.jsonl is incomplete and was left out.")
    busy = (load := _load_before(run)) > BUSY * cpus_of(run)
    if busy:
        yield Note(
            "busy",
            f"The machine was busy at the start (load {load:.1f} on {cpus_of(run)} CPUs), so "
            "intervals are wider and CPU figures lower.",
        )
    yield from _doubts(run, samples)
    yield from _warnings(run, but="load of others" if busy else "")
    yield _voids(samples)
    idle = [each for each in samples if not each.void and worked(each) < each.workers]
    if idle:
        cells = sorted({each.cell.key for each in idle})
        text = f"In {show_count(len(idle), 'sample')} some workers got no batch: {', '.join(cells)}"
        yield Note("idle", text)
    yield from _moved(samples)
    for what, why in plan.left_out:
        yield Note("left out", f"Left out: {what}: {why}")


def _doubts(run: Run, samples: Sequence[Sample]) -> Iterator[Note]:
    """Yield which targets were not reached, and how much of the time was measured."""
    target = run.meta.plan.target
    for workload in dict.fromkeys(each.workload for each in samples):
        open_cells = len(undecided(run, workload, target)) - 1 if target else 0
        if open_cells > 0:
            yield Note(
                "inconclusive",
                f"{workload}: inconclusive for {show_count(open_cells, 'cell')}, neither separated "
                f"from the fastest nor known to ± {show_percent(target)}. A larger --budget may "
                "decide it.",
            )
    lived = sum(each.process_s for each in samples)
    timed = sum(each.wall_s + each.pool_start_s for each in samples if not each.void)
    if lived:
        text = f"Of the time that all samples took, {show_percent(timed / lived)} was timed."
        yield Note("timed", text)


def _warnings(run: Run, *, but: str = "") -> Iterator[Note]:
    """Yield the warnings that doctor had when the run began; older runs have none."""
    for each in run.meta.doctor:
        if each.get("severity") == "warning" and each.get("name") != but:
            yield Note("doctor", f"Doctor: {each.get('name')}: {each.get('seen')}")


def _voids(samples: Sequence[Sample]) -> Note:
    voids = [each for each in samples if each.void]
    if not voids:
        return Note(
            "void",
            f"No sample is void: all {len(samples)} gave the same output and ran as asked.",
        )
    text = f"{len(voids)} of {len(samples)} samples are void and left out of all figures"
    return Note("void", text, tuple(map(_short, voids)))


def _moved(samples: Sequence[Sample]) -> Iterator[Note]:
    """Yield in which samples the workload changed the CPUs that its workers may use."""
    moved = [
        each
        for each in samples
        if not each.void
        and any(w.get("allowed_before") != w.get("allowed_after") for w in each.worker_totals)
    ]
    if moved:
        cells = ", ".join(sorted({each.cell.key for each in moved}))
        count = show_count(len(moved), "sample")
        text = f"In {count} the workload changed which CPUs its workers may use: {cells}"
        yield Note("affinity", text)


def _short(sample: Sample) -> str:
    lines = (sample.void or "").splitlines() or [""]
    why = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
    return f"block {sample.block + 1}, {sample.cell.key}: {why}"


def _load_before(run: Run) -> float:
    """Return the load average of the minute before the run; 0 if it is unknown."""
    load = run.meta.machine.get("load") or [0.0]
    return float(load[0])
