"""The dashboard: the verdict, the approaches and their speed-ups for each workload."""

from collections.abc import Sequence
from typing import Any

from todobatch.lab.store.schema import CellSummary
from todobatch.units import show_bytes, show_percent, show_seconds
from todobatch_reports import charts, tables
from todobatch_reports.frames import Figures, lines
from todobatch_reports.markup import Html, address
from todobatch_reports.pages.base import Pages


def context(figures: Figures, pages: Pages) -> dict[str, Any]:
    """Fill assets/templates/index.md."""
    return {"sections": [_section(figures, pages, w) for w in figures.workloads]}


def _section(figures: Figures, pages: Pages, workload: str) -> dict[str, Any]:
    cells = figures.of_workload(workload)
    winner = figures.winner(workload)
    chart = None
    if lines(cells):
        chart = pages.draw(
            f"{address(workload)}-speedups",
            f"Speed-up on {workload}",
            f"Speed-up of each approach on {workload} with its 95 % interval. "
            f"{winner.sentence} All figures are in the tables on this page.",
            charts.speedups(figures, workload),
            note="A row for each number of workers. Mark: estimate. Bar: 95 % interval. Dashed "
            "line: sequential.",
        )
    return {
        "workload": workload,
        "winner": winner,
        "chart": chart,
        "best": _comparison(
            figures,
            figures.best_of_each(cells),
            f"{workload}: each approach with its fastest number of workers",
        ),
        "all": _comparison(figures, cells, f"{workload}: all cells"),
        "cells": len(cells),
    }


def _comparison(figures: Figures, cells: Sequence[CellSummary], caption: str) -> Html:
    """Return the table of approaches, fastest first."""
    ranked = figures.best_first(cells)
    heads = (
        "Approach", "Interpreter", "Workers", "Time", "Speed-up", "95 % interval", "CPU", "Memory",
    )  # fmt: skip
    rows = [
        (
            s.approach,
            f"{figures.interpreter(s.cell.interpreter)}, {tables.gil(enabled=s.gil_enabled)}",
            s.cell.workers,
            tables.link(s.cell, show_seconds(s.wall_s.estimate)),
            *tables.speedup(s),
            show_percent(s.cpu_use),
            show_bytes(s.peak_bytes.estimate),
        )
        for s in ranked
    ]
    return tables.table(caption, heads, rows, kinds="..nnnnnn", marks=_marks(figures, ranked))


def _marks(figures: Figures, cells: Sequence[CellSummary]) -> list[str]:
    winner = figures.winner(cells[0].cell.workload)
    if winner.verdict == "faster":
        return ["best" if s.cell == winner.best.cell else "" for s in cells]
    first = {winner.best.cell, *(tied.cell for tied in winner.tied)}
    return ["tied" if s.cell in first else "" for s in cells]
