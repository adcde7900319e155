"""The method page: the run, the machine, the interpreters and the noise."""

from collections.abc import Iterator
from importlib import metadata
from operator import itemgetter
from typing import Any

import todobatch
from todobatch.lab.stats import estimate
from todobatch.lab.store.schema import CellSummary
from todobatch.units import show_bytes
from todobatch_reports import tables
from todobatch_reports.frames import Figures, spread
from todobatch_reports.markup import Html
from todobatch_reports.pages.base import Pages, stresses

BUILT_WITH = ("pandas", "scipy", "altair", "vl-convert-python", "mkdocs-material")
MACHINE = {
    "cpu_model": "processor",
    "cpus": "CPUs of the machine",
    "cpus_available": "CPUs that the run could use",
    "affinity": "numbers of these CPUs",
    "memory_bytes": "memory",
    "swap_bytes": "swap",
    "os": "system",
    "virtualised": "virtual machine",
    "vcpu_packing": "the kernel packs short threads onto few CPUs",
    "cpu_quota": "CPUs granted by the cgroup",
    "governor": "frequency governor",
    "load": "load average at the start (1, 5, 15 minutes)",
}


def context(figures: Figures, _pages: Pages) -> dict[str, Any]:
    """Fill assets/templates/method.md."""
    meta = figures.meta
    left_out = meta.plan.left_out
    rows = [
        (MACHINE.get(name, name.replace("_", " ")), _machine_value(name, value))
        for name, value in meta.machine.items()
    ]
    shapes = [(s.workload, s.batches, s.batch_size, stresses(s.workload)) for s in meta.plan.shapes]
    return {
        "machine_table": tables.table("The machine", ("Property", "Value"), rows, kinds="ww"),
        "interpreter_table": tables.table(
            "The interpreters",
            ("Interpreter", "Version", "Build", "GIL", "Compiler", "Configured with"),
            [_interpreter_row(figures, spec) for spec in meta.interpreters],
            kinds="..w.ww",
        ),
        "spread_table": _spread_table(figures),
        "worst_spread": max(_spreads(figures), key=itemgetter(1), default=None),
        "shapes": tables.table(
            "One sample of each workload",
            ("Workload", "Batches", "Tasks a batch", "Stresses"),
            shapes,
            kinds=".nnw",
        ),
        "left_out": left_out
        and tables.table("Left out of the plan", ("Cells", "Reason"), left_out, kinds="ww"),
        "void_table": _void_table(figures),
        "drift": _drift(figures),
        "confidence": estimate.CONFIDENCE,
        "equivalent": estimate.EQUIVALENT_WITHIN,
        "peak_methods": sorted({s.peak_method for s in figures.run.samples}),
        "versions": [
            ("todobatch", todobatch.__version__),
            *((name, metadata.version(name)) for name in BUILT_WITH),
        ],
    }


def _machine_value(name: str, value: object) -> object:
    if name.endswith("bytes") and isinstance(value, int):
        return show_bytes(value)
    if isinstance(value, dict):
        parts = (f"{key}: {_machine_value(str(key), item)}" for key, item in value.items())
        return ", ".join(parts) or tables.NONE
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or tables.NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    return tables.NONE if value is None or value == "" else value


def _interpreter_row(figures: Figures, spec: str) -> tuple[object, ...]:
    facts = figures.meta.interpreters[spec]
    build = [
        "free-threaded" if facts.get("free_threaded_build") else "with GIL",
        "PGO" if facts.get("optimized_build") else "no PGO",
        "LTO" if facts.get("lto_build") else "no LTO",
        *(["debug"] if facts.get("debug_build") else []),
    ]
    return (
        figures.interpreter(spec),
        f"{facts.get('implementation', '')} {facts.get('version', '')}".strip(),
        ", ".join(build),
        tables.gil(enabled=bool(facts.get("gil_enabled", True))),
        facts.get("compiler") or tables.NONE,
        facts.get("config_args") or tables.NONE,
    )


def _spreads(figures: Figures) -> Iterator[tuple[CellSummary, float]]:
    for summary in figures.summaries:
        samples = figures.good(summary.cell)
        if len(samples) > 1:
            yield summary, spread([sample.wall_s for sample in samples])


def _spread_table(figures: Figures) -> Html | None:
    rows = [
        (
            s.cell.workload,
            figures.label(s),
            s.cell.workers,
            s.samples,
            tables.link(s.cell, tables.percent_1(value)),
        )
        for s, value in sorted(_spreads(figures), key=lambda pair: -pair[1])
    ]
    heads = ("Workload", "Approach", "Workers", "Samples", "Spread")
    caption = "Spread of wall time, widest first"
    return tables.table(caption, heads, rows, kinds="..nnn") if rows else None


def _drift(figures: Figures) -> float | None:
    """Return the slowest block's time ÷ the fastest's − 1, from the sequential samples."""
    frame = figures.samples
    base = frame[(frame["executor"] == "sequential") & (frame["void"] == "")]
    means = base.groupby(["workload", "interpreter"])["wall_s"].transform("mean")
    by_block = (base["wall_s"] / means).groupby(base["block"]).mean()
    return float(by_block.max() / by_block.min() - 1) if len(by_block) > 1 else None


def _void_table(figures: Figures) -> Html | None:
    rows = [(s.number, s.cell.key, s.void) for s in figures.run.samples if s.void is not None]
    heads = ("Sample", "Cell", "Reason")
    return tables.table("Void samples", heads, rows, kinds="n.w") if rows else None
