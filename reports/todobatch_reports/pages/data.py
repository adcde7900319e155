"""The data page: every cell's figures, and the files to download."""

from typing import Any

from todobatch.units import show_bytes, show_percent, show_seconds
from todobatch_reports import tables
from todobatch_reports.frames import Figures, anchor
from todobatch_reports.pages.base import Pages

COLUMNS = (
    ("number, block, position", "the order in which the samples were measured"),
    ("workload, executor, interpreter, workers", "the cell, as it was planned"),
    ("approach", "derived: the executor, and whether the GIL was on in its workers"),
    ("gil_enabled", "whether the GIL was on, as the workers reported it"),
    ("wall_s", "seconds from sending the first batch to receiving the last result"),
    ("speedup", "derived: wall_s of the sequential sample of the same block ÷ wall_s"),
    ("cpu_s, cpu_use", "CPU seconds of the process tree; derived: share of all CPUs' time"),
    ("pool_start_s, process_s", "seconds to start the workers; lifetime of the whole process"),
    (
        "voluntary_switches, involuntary_switches",
        "context switches of the process tree; empty where the system does not report them",
    ),
    ("peak_bytes, peak_method", "peak memory of the process tree, and how it was measured"),
    ("tasks, failed, batches", "number of tasks, failed tasks and batches in the sample"),
    ("digest", "digest of the output: the same in every sample of a workload"),
    ("load_1m, started", "load average and time when the sample began"),
    ("void", "why the sample is not used; empty for valid samples"),
)


def context(figures: Figures, _pages: Pages) -> dict[str, Any]:
    """Fill assets/templates/data.md."""
    heads = (
        "Cell", "Approach", "Samples", "Time", "95 % interval", "Speed-up", "95 % interval",
        "CPU time", "CPU", "Memory", "Pool start", "Cold",
    )  # fmt: skip
    rows = [
        (
            s.cell.key,
            s.approach,
            f"{s.samples}" + (f" + {s.voids} void" if s.voids else ""),
            show_seconds(s.wall_s.estimate),
            tables.interval(s.wall_s, show_seconds),
            *tables.speedup(s),
            show_seconds(s.cpu_s.estimate),
            show_percent(s.cpu_use),
            show_bytes(s.peak_bytes.estimate),
            show_seconds(s.pool_start_s.estimate),
            show_seconds(s.cold_s.estimate),
        )
        for s in figures.summaries
    ]
    ids = [anchor(s.cell) for s in figures.summaries]
    columns = tables.table("Columns of samples.csv", ("Column", "Content"), COLUMNS, kinds="ww")
    return {
        "cells": tables.table("All cells", heads, rows, kinds="..nnnnnnnnnn", ids=ids),
        "columns": columns,
    }
