"""Formats a run: a table and a verdict for each workload, or one JSON document."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from todobatch.cli.views import console
from todobatch.errors import UsageError
from todobatch.lab.measure.sample import worked
from todobatch.lab.stats.reasons import show_interval
from todobatch.lab.stats.verdict import cpus_of, summarise, undecided, winners
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import CellSummary, Estimate, Sample, Winner
from todobatch.units import show_bytes, show_percent, show_seconds

VOIDS_SHOWN = 10
BUSY = 0.5  # of its CPUs in use by others before the first sample


def show(run: Run, *, workload: str | None = None, screen: Console | None = None) -> None:
    """Print the table and verdict of each workload. Raises UsageError for an unknown one."""
    screen = screen or console.output()
    chosen = _chosen(run, workload)
    analysed = {winner.workload: winner for winner in winners(run)}
    summaries = summarise(run)
    console.line(screen, _heading(run))
    for name in chosen:
        cells = [each for each in summaries if each.cell.workload == name]
        screen.print()
        if not cells:
            console.line(screen, f"{name}: no valid sample yet")
            continue
        screen.print(_table(name, cells))
        screen.print()
        console.line(screen, analysed[name].sentence, style="bold")
        for approach, why in analysed[name].reasons:
            console.line(screen, f"- {approach}: {why}")
    screen.print()
    for note in notes(run, workload):
        console.line(screen, note)


def as_json(run: Run, *, workload: str | None = None) -> str:
    """Return a JSON document: ``cells``, ``winners``, ``voids``, ``notes``; null is unknown."""
    names = set(_chosen(run, workload))
    document = {
        "run": run.meta.run_id,
        "mode": run.meta.plan.mode,
        "complete": run.meta.ended is not None,
        "cells": [_cell(each) for each in summarise(run) if each.cell.workload in names],
        "winners": [_winner(each) for each in winners(run) if each.workload in names],
        "voids": [_void(each) for each in run.samples if each.void and each.workload in names],
        "notes": list(notes(run, workload)),
    }
    return json.dumps(document, indent=1, allow_nan=False)


def notes(run: Run, workload: str | None = None) -> Iterator[str]:
    """Yield what a reader must know beside the figures."""
    names = set(_chosen(run, workload))
    plan = run.meta.plan
    samples = [each for each in run.samples if each.workload in names]
    if plan.mode == "quick":
        yield "This was a quick run: intervals are wide. For more: todobatch bench --full"
    if run.meta.ended is None:
        folder = run.folder or run.meta.run_id
        yield f"Unfinished. Resume it with: todobatch bench --resume {folder}"
    if run.torn:
        yield "The last line of samples.jsonl is incomplete and was left out."
    busy = (load := _load_before(run)) > BUSY * cpus_of(run)
    if busy:
        yield (
            f"The machine was busy at the start (load {load:.1f} on {cpus_of(run)} CPUs), so "
            "intervals are wider and CPU figures lower."
        )
    yield from _doubts(run, samples)
    yield from _warnings(run, but="load of others" if busy else "")
    voids = [each for each in samples if each.void]
    if voids:
        yield f"{len(voids)} of {len(samples)} samples are void and left out of all figures:"
        yield from (f"  {_short(each)}" for each in voids[:VOIDS_SHOWN])
        if len(voids) > VOIDS_SHOWN:
            yield f"  and {len(voids) - VOIDS_SHOWN} more; todobatch show --json lists all"
    else:
        yield f"No sample is void: all {len(samples)} gave the same output and ran as asked."
    idle = [each for each in samples if not each.void and worked(each) < each.workers]
    if idle:
        cells = sorted({each.cell.key for each in idle})
        yield f"In {len(idle)} samples some workers got no batch: {', '.join(cells)}"
    for what, why in plan.left_out:
        yield f"Left out: {what}: {why}"


def _doubts(run: Run, samples: Sequence[Sample]) -> Iterator[str]:
    """Yield which targets were not reached, and how much of the time was measured."""
    target = run.meta.plan.target
    for workload in dict.fromkeys(each.workload for each in samples):
        open_cells = len(undecided(run, workload, target)) - 1 if target else 0
        if open_cells > 0:
            yield (
                f"{workload}: {open_cells} cells are inconclusive: neither separated from the "
                f"fastest nor known to ± {show_percent(target)}. A larger --budget may decide it."
            )
    lived = sum(each.process_s for each in samples)
    timed = sum(each.wall_s + each.pool_start_s for each in samples if not each.void)
    if lived:
        yield f"Of the time that all samples took, {show_percent(timed / lived)} was timed."


def _warnings(run: Run, *, but: str = "") -> Iterator[str]:
    """Yield the warnings that doctor had when the run began; older runs have none."""
    for each in run.meta.doctor:
        if each.get("severity") == "warning" and each.get("name") != but:
            yield f"Doctor: {each.get('name')}: {each.get('seen')}"


def _load_before(run: Run) -> float:
    """Return the load average of the minute before the run; 0 if it is unknown."""
    load = run.meta.machine.get("load") or [0.0]
    return float(load[0])


def _chosen(run: Run, workload: str | None) -> list[str]:
    names = list(dict.fromkeys(cell.workload for cell in run.meta.plan.cells))
    if workload is None:
        return names
    if workload not in names:
        raise UsageError(
            f"workload {workload!r} is not in this run",
            place="--workload",
            remedy=f"choose one of {', '.join(names)}",
        )
    return [workload]


def _heading(run: Run) -> str:
    meta = run.meta
    blocks = len({each.block for each in run.samples})
    model = meta.machine.get("cpu_model") or "unknown CPU"
    pythons = ", ".join(
        f"{label} (GIL {'on' if facts.get('gil_enabled') else 'off'})"
        for label, facts in meta.interpreters.items()
    )
    return (
        f"Run {meta.run_id} ({meta.plan.mode}): {blocks} blocks, {len(run.samples)} samples; "
        f"{cpus_of(run)} CPUs, {model}; {pythons}"
    )


def _table(workload: str, cells: Sequence[CellSummary]) -> Table:
    headings = ("approach", "Py", "n", "time", "cold", "speed-up", "CPU", "memory", "runs")
    table = console.table(headings, left=2, title=workload, gap=1)
    for each in cells:
        table.add_row(
            each.approach,
            each.cell.interpreter,
            str(each.cell.workers),
            show_seconds(each.wall_s.estimate),
            show_seconds(each.cold_s.estimate),
            _speedup(each),
            show_percent(each.cpu_use),
            show_bytes(each.peak_bytes.estimate),
            f"{each.samples}" + (f"+{each.voids} void" if each.voids else ""),
        )
    return table


def _speedup(each: CellSummary) -> str:
    if each.speedup is None:
        return "?"
    return "1×" if each.cell.executor == "sequential" else show_interval(each.speedup)


def _short(sample: Sample) -> str:
    lines = (sample.void or "").splitlines() or [""]
    why = lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1]}"
    return f"block {sample.block + 1}, {sample.cell.key}: {why}"


def _cell(each: CellSummary) -> dict[str, Any]:
    return {
        "executor": each.cell.executor,
        "workload": each.cell.workload,
        "workers": each.cell.workers,
        "interpreter": each.cell.interpreter,
        "gil_enabled": each.gil_enabled,
        "approach": each.approach,
        "samples": each.samples,
        "voids": each.voids,
        "wall_s": _estimate(each.wall_s),
        "cpu_s": _estimate(each.cpu_s),
        "peak_bytes": _estimate(each.peak_bytes),
        "pool_start_s": _estimate(each.pool_start_s),
        "cold_s": _estimate(each.cold_s),
        "cpu_use": _number(each.cpu_use),
        "speedup": _estimate(each.speedup),
        "efficiency": _estimate(each.efficiency),
    }


def _winner(winner: Winner) -> dict[str, Any]:
    return {
        "workload": winner.workload,
        "verdict": winner.verdict,
        "best": _cell(winner.best),
        "tied": [each.cell.key for each in winner.tied],
        "sentence": winner.sentence,
        "reasons": [{"approach": approach, "why": why} for approach, why in winner.reasons],
    }


def _void(sample: Sample) -> dict[str, Any]:
    return {
        "cell": sample.cell.key,
        "block": sample.block,
        "number": sample.number,
        "why": sample.void,
    }


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {
        "estimate": _number(estimate.estimate),
        "low": _number(estimate.low),
        "high": _number(estimate.high),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
