"""Formats a run: a table and a verdict for each workload, or one JSON document."""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console

from todobatch.cli.views import console
from todobatch.cli.views.tables import Table
from todobatch.errors import UsageError, did_you_mean
from todobatch.lab.notes import notes as notes_of
from todobatch.lab.stats.reasons import show_interval
from todobatch.lab.stats.verdict import cpus_of, summarise, winners
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import CellSummary, Estimate, Sample, Winner
from todobatch.units import show_bytes, show_percent, show_seconds

DETAILS_SHOWN = 10


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
    """Yield the lines of what a reader must know beside the figures."""
    for note in notes_of(run, _chosen(run, workload)):
        yield f"{note.text}:" if note.details else note.text
        yield from (f"  {line}" for line in note.details[:DETAILS_SHOWN])
        if len(note.details) > DETAILS_SHOWN:
            more = len(note.details) - DETAILS_SHOWN
            yield f"  and {more} more; todobatch show --json lists all"


def _chosen(run: Run, workload: str | None) -> list[str]:
    names = list(dict.fromkeys(cell.workload for cell in run.meta.plan.cells))
    if workload is None:
        return names
    if workload not in names:
        raise UsageError(
            f"workload {workload!r} is not in this run{did_you_mean(workload, names)}",
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
    table = console.table(
        ("approach", "Py", "n", "time", "cold", "speed-up", "95 %", "CPU", "memory", "runs"),
        left=2,
        title=workload,
        gap=1,
        drop=("cold", "memory", "CPU", "runs", "95 %"),
        long="Py",
    )
    for each in cells:
        table.add_row(
            each.approach,
            each.cell.interpreter,
            str(each.cell.workers),
            show_seconds(each.wall_s.estimate),
            show_seconds(each.cold_s.estimate),
            *_speedup(each),
            show_percent(each.cpu_use),
            show_bytes(each.peak_bytes.estimate),
            f"{each.samples}" + (f"+{each.voids} void" if each.voids else ""),
        )
    return table


def _speedup(each: CellSummary) -> tuple[str, str]:
    """Return the speed-up and its interval."""
    if each.speedup is None:
        return "?", ""
    if each.cell.executor == "sequential":
        return "1×", ""
    ratio, _, interval = show_interval(each.speedup).partition(" ")
    return ratio, interval


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
