"""A run as tidy tables: one row a sample, one row a cell, one row a span; SI units."""

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


@dataclass(frozen=True)
class Figures:
    """Everything the pages say is read off this: a run, what was derived from it, and its tables.

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
        """Derive all of it; the run has at least one good sample."""
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
        """What run.json says."""
        return self.run.meta

    @property
    def workloads(self) -> list[str]:
        """Workloads in the order they were planned."""
        return list(self.ranked)

    def of_workload(self, workload: str) -> list[CellSummary]:
        """The cells of one workload, in the plan's order."""
        return [summary for summary in self.summaries if summary.cell.workload == workload]

    def best_first(self, cells: Iterable[CellSummary]) -> list[CellSummary]:
        """The same cells in the order of their rank within their workload."""
        places = {s.cell: place for field in self.ranked.values() for place, s in enumerate(field)}
        return sorted(cells, key=lambda summary: places[summary.cell])

    def winner(self, workload: str) -> Winner:
        """The winner analysis of one workload. Raises KeyError where there is none."""
        found = {winner.workload: winner for winner in self.winners}
        return found[workload]

    def good(self, cell: Cell) -> list[Sample]:
        """The samples of a cell that may be used."""
        return [s for s in self.run.samples if s.cell == cell and s.void is None]

    def interpreter(self, spec: str) -> str:
        """How an interpreter is called on the pages."""
        return interpreter_name(spec, self.meta.interpreters.get(spec, {}))

    def label(self, summary: CellSummary) -> str:
        """How a line of a chart is called: approach and interpreter."""
        return f"{summary.approach} · {self.interpreter(summary.cell.interpreter)}"


def _ranked(run: Run, summaries: Sequence[CellSummary]) -> dict[str, tuple[CellSummary, ...]]:
    good = good_samples(run)
    fields: dict[str, list[CellSummary]] = {}
    for summary in summaries:
        fields.setdefault(summary.cell.workload, []).append(summary)
    return {workload: tuple(verdict.rank(good, cells)) for workload, cells in fields.items()}


def said(winner: Winner) -> tuple[str, str]:
    """A winner's sentence where its workload has been named already: the point, and the rest."""
    sentence = winner.sentence.removeprefix(f"{winner.workload}: ")
    sentence = sentence[:1].upper() + sentence[1:]
    point = re.match(r".*?[:.;](?= )", sentence)
    return (point[0], sentence[point.end() :].strip()) if point else (sentence, "")


def interpreter_name(spec: str, facts: Mapping[str, Any]) -> str:
    """The spec as asked for; for a path, the version found there (``'3.14.7t'``)."""
    if PurePath(spec).name == spec:
        return spec
    version = str(facts.get("version", PurePath(spec).name))
    return f"{version}t" if facts.get("free_threaded_build") else version


def anchor(cell: Cell) -> str:
    """The name of a cell's row on the data page: ``'cell-example8-3.14t-threads-2'``."""
    return "cell-" + re.sub(r"[^A-Za-z0-9.]+", "-", cell.key).strip("-")


PHASES = ("queue_s", "deserialise_s", "serialise_s", "return_s")
"""What happens to a batch before and after its worker computes."""


def sample_frame(run: Run, summaries: Sequence[CellSummary]) -> pd.DataFrame:
    """One row a sample, voids included, in the order taken.

    `speedup` is the wall time of the sequential sample of the same block, workload and interpreter
    divided by this one's; NaN where that is missing or either is void.
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
        rows.append(
            {
                "number": s.number,
                "block": s.block,
                "position": s.position,
                "workload": s.workload,
                "approach": approach.get(s.cell, s.executor),
                "executor": s.executor,
                "interpreter": interpreter_name(
                    s.interpreter, run.meta.interpreters.get(s.interpreter, {})
                ),
                "gil_enabled": s.gil_enabled,
                "workers": s.workers,
                "wall_s": s.wall_s,
                "speedup": reference / s.wall_s if reference else float("nan"),
                "cpu_s": s.cpu_s,
                "cpu_use": s.cpu_s / (s.wall_s * available),
                "pool_start_s": s.pool_start_s,
                "process_s": s.process_s,
                "voluntary_switches": s.voluntary_switches,
                "involuntary_switches": s.involuntary_switches,
                "peak_bytes": s.peak_bytes,
                "peak_method": s.peak_method,
                "tasks": s.tasks,
                "failed": s.failed,
                "batches": s.batches,
                "digest": s.digest,
                "load_1m": s.load_1m,
                "started": s.started,
                "void": s.void or "",
            }
        )
    return pd.DataFrame(rows)


def cell_frame(meta: RunMeta, summaries: Sequence[CellSummary]) -> pd.DataFrame:
    """One row a cell; an estimate is three columns: ``wall_s``, ``wall_s_low``, ``wall_s_high``."""
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
    """One row a batch as a worker ran it: worker, batch, start_s and end_s from the clock's start.

    And its phases (`PHASES`), in seconds; NaN in samples that were taken before there were any.
    """
    columns = ["worker", "batch", "start_s", "end_s", *PHASES]
    frame = pd.DataFrame([[*s, *[float("nan")] * (8 - len(s))] for s in sample.spans],
                         columns=columns)  # fmt: skip
    names = {n: str(each["worker"]) for n, each in enumerate(sample.worker_totals)}
    frame["worker"] = [names.get(worker, str(worker)) for worker in frame["worker"]]
    return frame.sort_values(["start_s", "batch"], ignore_index=True)


def spread(values: Sequence[float]) -> float:
    """Coefficient of variation: standard deviation (n - 1) ÷ mean; NaN below two values."""
    series = pd.Series(values, dtype=float)
    return float(series.std(ddof=1) / series.mean())


def _three(name: str, value: Estimate | None) -> dict[str, float]:
    nan = float("nan")
    estimate = value or Estimate(nan, nan, nan)
    return {
        name: estimate.estimate,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
    }
