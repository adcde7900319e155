"""Decide whether what a run folder says makes sense: its plan, and each of its samples."""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from todobatch.lab.store.schema import Cell, RunMeta, Sample, WorkloadShape
from todobatch.units import Ratio, Seconds, show_count, show_seconds

MOST_TASKS = 10_000_000
"""The most tasks of a sample, because all of them are in memory."""
SLACK: Ratio = 1.1
SLACK_S: Seconds = 0.1
"""Times may exceed their bounds by the share and by the seconds, because clocks tick apart."""
IN_ONE_THREAD = frozenset({"sequential", "coroutines"})
"""The executors whose batches run in the thread that hands them out; others use one more."""
MOST_CPUS = 1_000_000
"""The number of CPUs of a machine that is not described."""


def why_inconsistent(meta: RunMeta) -> str | None:
    """Return why a plan cannot be measured or shown; None for one that can."""
    plan = meta.plan
    shapes: dict[str, int] = {}
    for number, shape in enumerate(plan.shapes):
        if (first := shapes.setdefault(shape.workload, number)) != number:
            return (
                f"plan.shapes[{number}].workload: plan.shapes[{first}] has the same workload "
                f"{shape.workload!r}"
            )
        if shape.batches * shape.batch_size > MOST_TASKS:
            return f"plan.shapes[{number}]: it has more than {MOST_TASKS:,} tasks"
    return _why_no_cells(meta, shapes) or _why_no_source(plan.source)


def _why_no_cells(meta: RunMeta, shapes: Container[str]) -> str | None:
    keys: dict[str, int] = {}
    for number, cell in enumerate(meta.plan.cells):
        if cell.workload not in shapes:
            return f"plan.cells[{number}].workload: it has no shape"
        if cell.interpreter not in meta.interpreters:
            return f"plan.cells[{number}].interpreter: it is not among the interpreters"
        if cell.executor == "sequential" and cell.workers != 1:
            return f"plan.cells[{number}].workers: sequential has 1 worker, not {cell.workers}"
        first = keys.setdefault(cell.key, number)
        if meta.plan.cells[first] != cell:  # a name may contain a slash
            return f"plan.cells[{number}]: another cell has the same name {cell.key!r}"
        if first != number:
            return f"plan.cells[{number}]: it is the same cell as plan.cells[{first}]"
    return None


def _why_no_source(source: Mapping[str, Any]) -> str | None:
    if source.get("kind") == "file" and not {"path", "sha256"} <= source.keys():
        return "plan.source: it has no path or no sha256"
    return None


def judged(meta: RunMeta, samples: Iterable[Sample]) -> list[Sample]:
    """Return the samples; those that make no sense in this run are void, with the reason."""
    shapes = {shape.workload: shape for shape in meta.plan.shapes}
    planned = set(meta.plan.cells)
    cpus = int(meta.machine.get("cpus_available") or MOST_CPUS)
    valid: set[tuple[int, Cell]] = set()
    found = []
    for sample in samples:
        why = sample.void
        if why is None and (sample.cell not in planned or sample.block >= meta.plan.blocks):
            why = "it is not in the plan"
        if why is None:
            facts = meta.interpreters[sample.interpreter]
            why = _why_void(sample, shapes[sample.workload], facts)
        if why is None and (sample.block, sample.cell) in valid:
            why = "its block has a valid sample of this cell already"
        if why is None:
            why = impossible_times(sample, cpus)
        if why is None:
            valid.add((sample.block, sample.cell))
        found.append(sample if why == sample.void else replace(sample, void=why))
    return found


def impossible_times(sample: Sample, cpus: int) -> str | None:
    """Return why a sample's times contradict each other on `cpus` CPUs; None if they do not.

    They do when the workload changes a clock, or when its own threads or processes use more CPUs
    than the sample has workers.
    """
    wall_s, cpu_s = sample.wall_s, sample.cpu_s
    for _, batch, start_s, end_s, *_ in sample.spans:
        if end_s < start_s:
            return f"its batch {batch} ends before it starts: a clock was changed"
    if wall_s > SLACK * sample.process_s + SLACK_S:
        return (
            f"it took {show_seconds(wall_s)} by its own clock, but its process lived for "
            f"{show_seconds(sample.process_s)}: the clock was changed"
        )
    used = f"it used {show_seconds(cpu_s)} of CPU time in {show_seconds(wall_s)}"
    if cpu_s > SLACK * wall_s * cpus + SLACK_S:
        return f"{used}, more than {show_count(cpus, 'CPU')} can give: a clock was changed"
    at_once = sample.workers + (sample.executor not in IN_ONE_THREAD)
    if cpu_s > SLACK * wall_s * at_once + SLACK_S:
        return (
            f"{used} with {show_count(sample.workers, 'worker')}: a clock was changed, or the "
            "workload runs threads or processes of its own; limit it to one thread, for "
            "example with OMP_NUM_THREADS=1"
        )
    return None


def _why_void(sample: Sample, shape: WorkloadShape, facts: Mapping[str, Any]) -> str | None:
    if any(map(math.isnan, (sample.wall_s, sample.cpu_s, sample.pool_start_s, sample.process_s))):
        return "its times are missing"
    workers = sample.worker_totals
    gil = sample.gil_enabled or any(w.get("gil_before") or w.get("gil_after") for w in workers)
    if facts["free_threaded_build"] and gil:
        return "the GIL was on in a free-threaded interpreter"
    if not facts["free_threaded_build"] and not gil:
        return "the GIL was off in an interpreter that has one"
    if sample.failed:
        return f"{sample.failed} tasks failed"
    if (sample.batches, sample.tasks) != (shape.batches, shape.batches * shape.batch_size):
        return f"it has {sample.tasks} tasks in {sample.batches} batches, unlike the plan"
    if shape.digest and sample.digest != shape.digest:
        return "its output differs from that of sequential"
    return None
