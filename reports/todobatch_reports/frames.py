"""Tidy tables of a run in SI units: a row for each sample, each cell and each span."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Self

import pandas as pd

from todobatch.lab.stats import verdict
from todobatch.lab.stats.estimate import good_samples
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, CellSummary, Estimate, RunMeta, Sample, Winner
from todobatch_reports.markup import address


@dataclass(frozen=True)
class Figures:
    """A run, its statistics and its tables, from which every page is made.

    `ranked` holds the cells of each workload, best first.
    """

    run: Run
    summaries: tuple[CellSummary, ...]
    ranked: Mapping[str, tuple[CellSummary, ...]]
    winners: tuple[Winner, ...]
    samples: pd.DataFrame
    cells: pd.DataFrame
    cpus: int

    @classmethod
    def of(cls, run: Run) -> Self:
        """Derive everything from a run that has at least one valid sample."""
        summaries = tuple(verdict.summarise(run))
        return cls(
            run=run,
            summaries=summaries,
            ranked=_ranked(run, summaries),
            winners=tuple(verdict.winners(run)),
            samples=sample_frame(run, summaries),
            cells=cell_frame(run.meta, summaries),
            cpus=verdict.cpus_of(run),
        )

    @property
    def meta(self) -> RunMeta:
        """The content of run.json."""
        return self.run.meta

    @property
    def workloads(self) -> list[str]:
        """The workloads, in the plan's order."""
        return list(self.ranked)

    def of_workload(self, workload: str) -> list[CellSummary]:
        """Return the cells of one workload, in the plan's order."""
        return [summary for summary in self.summaries if summary.cell.workload == workload]

    def best_first(self, cells: Iterable[CellSummary]) -> list[CellSummary]:
        """Return the same cells, ordered by their rank within their workload."""
        places = {s.cell: place for field in self.ranked.values() for place, s in enumerate(field)}
        return sorted(cells, key=lambda summary: places[summary.cell])

    def best_of_each(self, cells: Iterable[CellSummary]) -> list[CellSummary]:
        """Return each approach on each interpreter with its fastest number of workers."""
        best: dict[tuple[str, str], CellSummary] = {}
        for summary in self.best_first(cells):
            best.setdefault((summary.approach, summary.cell.interpreter), summary)
        return list(best.values())

    def winner(self, workload: str) -> Winner:
        """Return the verdict on one workload. Raises KeyError if there is none."""
        return {winner.workload: winner for winner in self.winners}[workload]

    def good(self, cell: Cell) -> list[Sample]:
        """Return the valid samples of a cell."""
        return [s for s in self.run.samples if s.cell == cell and s.void is None]

    def interpreter(self, spec: str) -> str:
        """Return the name of an interpreter on the pages."""
        return interpreter_name(spec, self.meta.interpreters.get(spec, {}))

    def label(self, summary: CellSummary) -> str:
        """Return the name of a line in a chart: approach and interpreter."""
        return f"{summary.approach} · {self.interpreter(summary.cell.interpreter)}"


def _ranked(run: Run, summaries: Sequence[CellSummary]) -> dict[str, tuple[CellSummary, ...]]:
    good = good_samples(run)
    fields: dict[str, list[CellSummary]] = {}
    for summary in summaries:
        fields.setdefault(summary.cell.workload, []).append(summary)
    return {workload: tuple(verdict.rank(good, cells)) for workload, cells in fields.items()}


def split_sentence(winner: Winner) -> tuple[str, str]:
    """Split a verdict's sentence after its first clause, and drop the workload's name."""
    sentence = winner.sentence.removeprefix(f"{winner.workload}: ")
    sentence = sentence[:1].upper() + sentence[1:]
    point = re.match(r".*?[:.;](?= )", sentence)
    return (point[0], sentence[point.end() :].strip()) if point else (sentence, "")


def interpreter_name(spec: str, facts: Mapping[str, Any]) -> str:
    """Return an interpreter's spec; for a path, its version such as ``'3.14.7t'``."""
    if PurePath(spec).name == spec:
        return spec
    version = str(facts.get("version", PurePath(spec).name))
    return f"{version}t" if facts.get("free_threaded_build") else version


def anchor(cell: Cell) -> str:
    """Return the id of a cell's row on the data page: ``'cell-example8-3.14t-threads-2'``."""
    parts = (cell.workload, cell.interpreter, cell.executor, str(cell.workers))
    return "-".join(("cell", *map(address, parts)))


PHASES = ("queue_s", "deserialise_s", "serialise_s", "return_s")
"""The phases of a batch before and after its worker computes it."""


SAMPLE_COLUMNS = (
    "number", "block", "position", "workload", "approach", "executor", "interpreter",
    "gil_enabled", "workers", "wall_s", "speedup", "cpu_s", "cpu_use", "pool_start_s", "process_s",
    "voluntary_switches", "involuntary_switches", "peak_bytes", "peak_method", "tasks", "failed",
    "batches", "digest", "load_1m", "started", "void",
)  # fmt: skip


def sample_frame(run: Run, summaries: Sequence[CellSummary]) -> pd.DataFrame:
    """Return a row for each sample, void ones included, in the order of measuring.

    `speedup` is the wall time of the sequential sample of the same block, workload and interpreter
    divided by this one's. It is NaN where that sample is missing or either is void.
    """
    approach = {summary.cell: summary.approach for summary in summaries}
    available = verdict.cpus_of(run)
    base = {
        (s.block, s.workload, s.interpreter): s.wall_s
        for s in run.samples
        if s.executor == "sequential" and s.void is None
    }
    rows = []
    for s in run.samples:
        reference = base.get((s.block, s.workload, s.interpreter)) if s.void is None else None
        facts = run.meta.interpreters.get(s.interpreter, {})
        derived = {
            "approach": approach.get(s.cell, s.executor),
            "interpreter": interpreter_name(s.interpreter, facts),
            "speedup": reference / s.wall_s if reference else float("nan"),
            "cpu_use": s.cpu_s / (s.wall_s * available),
            "void": s.void or "",
        }
        rows.append([derived[c] if c in derived else getattr(s, c) for c in SAMPLE_COLUMNS])
    return pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS))


def cell_frame(meta: RunMeta, summaries: Sequence[CellSummary]) -> pd.DataFrame:
    """Return a row for each cell; an estimate has columns such as ``wall_s``, ``wall_s_low``."""
    rows = []
    for summary in summaries:
        cell = summary.cell
        name = interpreter_name(cell.interpreter, meta.interpreters.get(cell.interpreter, {}))
        rows.append(
            {
                "cell": cell.key,
                "anchor": anchor(cell),
                "workload": cell.workload,
                "approach": summary.approach,
                "executor": cell.executor,
                "interpreter": name,
                "label": f"{summary.approach} · {name}",
                "gil_enabled": summary.gil_enabled,
                "workers": cell.workers,
                "samples": summary.samples,
                "voids": summary.voids,
                **_three("wall_s", summary.wall_s),
                **_three("speedup", summary.speedup),
                **_three("efficiency", summary.efficiency),
                **_three("cpu_s", summary.cpu_s),
                "cpu_use": summary.cpu_use,
                **_three("peak_bytes", summary.peak_bytes),
                **_three("pool_start_s", summary.pool_start_s),
                **_three("cold_s", summary.cold_s),
            }
        )
    return pd.DataFrame(rows)


def span_frame(sample: Sample) -> pd.DataFrame:
    """Return a row for each batch as a worker ran it.

    The columns are worker, batch, start_s and end_s (seconds since the clock started), and the
    phases (`PHASES`) in seconds. The phases are NaN in samples of schema 1.
    """
    columns = ["worker", "batch", "start_s", "end_s", *PHASES]
    frame = pd.DataFrame([[*s, *[float("nan")] * (8 - len(s))] for s in sample.spans],
                         columns=columns)  # fmt: skip
    names = {n: str(each["worker"]) for n, each in enumerate(sample.worker_totals)}
    frame["worker"] = [names.get(worker, str(worker)) for worker in frame["worker"]]
    return frame.sort_values(["start_s", "batch"], ignore_index=True)


def spread(values: Sequence[float]) -> float:
    """Return the coefficient of variation: standard deviation (n - 1) ÷ mean; NaN below 2."""
    series = pd.Series(values, dtype=float)
    return float(series.std(ddof=1) / series.mean())


def lines(cells: Iterable[CellSummary]) -> list[list[CellSummary]]:
    """Group parallel cells that differ in workers only, and order each group by workers."""
    found: dict[tuple[str, str], list[CellSummary]] = {}
    for summary in cells:
        if summary.cell.executor != "sequential":
            found.setdefault((summary.cell.executor, summary.cell.interpreter), []).append(summary)
    return [sorted(line, key=lambda s: s.cell.workers) for line in found.values()]


def _three(name: str, value: Estimate | None) -> dict[str, float]:
    nan = float("nan")
    each = value or Estimate(nan, nan, nan)
    return {name: each.estimate, f"{name}_low": each.low, f"{name}_high": each.high}
