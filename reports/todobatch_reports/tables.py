"""Figures as text and tables as HTML: every page shows the same thing the same way."""

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

from todobatch.lab.store.schema import Cell, CellSummary, Estimate
from todobatch.units import show_bytes, show_percent, show_ratio, show_seconds
from todobatch_reports.frames import Figures, anchor

NONE = "–"


def interval(estimate: Estimate | None, show: Callable[[float], str]) -> str:
    """``'1.90× – 1.96×'``; a dash where a single sample gives none."""
    if estimate is None or math.isnan(estimate.low):
        return NONE
    return f"{show(estimate.low)} – {show(estimate.high)}"


def with_interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """``'1.93× (95 % interval 1.90× – 1.96×)'``, or that there is none."""
    if math.isnan(estimate.low):
        return f"{show(estimate.estimate)} (one sample, so no interval)"
    return f"{show(estimate.estimate)} (95 % interval {interval(estimate, show)})"


def link(cell: Cell, text: str) -> Markup:
    """A figure that leads to its row on the data page."""
    return Markup('<a href="data.html#{}">{}</a>').format(anchor(cell), text)


def gil(*, enabled: bool) -> str:
    """How the state of the GIL is told."""
    return "GIL on" if enabled else "GIL off"


def count(number: int, one: str, many: str = "") -> str:
    """``'1 sample'``, ``'3 samples'``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    kinds: str = "",
    ids: Sequence[str] = (),
    marks: Sequence[str] = (),
    stacks: bool = False,
) -> Markup:
    """A table in a box of its own that scrolls where it is wider than the page.

    `kinds` has one letter a column: ``n`` is a number, set to the right, ``w`` is text that wraps.
    `ids` names the rows; `marks` gives each a look: ``'best'``, ``'tied'`` or none. A table of
    sentences `stacks` its cells on a phone.
    """
    kinds = kinds.ljust(len(heads), ".")
    classes = [f' class="tb-{kind}"' if kind in "nw" else "" for kind in kinds]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name)}</th>'
        for name, kind in zip(heads, classes, strict=True)
    )
    body = []
    for place, row in enumerate(rows):
        cells = [
            f'<th scope="row"{kind}>{escape(value)}</th>'
            if column == 0
            else f"<td{kind}>{escape(value)}</td>"
            for column, (value, kind) in enumerate(zip(row, classes, strict=True))
        ]
        name = f' id="{escape(ids[place])}"' if ids else ""
        mark = f' class="tb-{marks[place]}"' if marks and marks[place] else ""
        body.append(f"<tr{name}{mark}>{''.join(cells)}</tr>")
    return Markup(  # noqa: S704 - every value in it has been escaped above
        f'<div class="tb-scroll" data-search-exclude role="region" tabindex="0" '
        f'aria-label="{escape(caption)}"><table class="tb-table{" tb-stack" * stacks}">'
        f"<caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def comparison(figures: Figures, cells: Sequence[CellSummary], caption: str) -> Markup:
    """The table of approaches, fastest first."""
    ranked = figures.best_first(cells)
    heads = (
        "Approach", "Interpreter", "Workers", "Time", "Speed-up", "95 % interval", "CPU", "Memory",
    )  # fmt: skip
    rows = [
        (
            summary.approach,
            f"{figures.interpreter(summary.cell.interpreter)}, {gil(enabled=summary.gil_enabled)}",
            summary.cell.workers,
            link(summary.cell, show_seconds(summary.wall_s.estimate)),
            *speedup(summary),
            show_percent(summary.cpu_use),
            show_bytes(summary.peak_bytes.estimate),
        )
        for summary in ranked
    ]
    return table(caption, heads, rows, kinds="..nnnnnn", marks=_marks(figures, ranked))


def _marks(figures: Figures, cells: Sequence[CellSummary]) -> list[str]:
    winner = figures.winner(cells[0].cell.workload)
    if winner.verdict == "faster":
        return ["best" if s.cell == winner.best.cell else "" for s in cells]
    first = {winner.best.cell, *(tied.cell for tied in winner.tied)}
    return ["tied" if s.cell in first else "" for s in cells]


def speedup(summary: CellSummary) -> tuple[str, str]:
    """A speed-up and its interval; sequential is what it is measured against."""
    if summary.cell.executor == "sequential":
        return "base", NONE
    if summary.speedup is None:
        return NONE, NONE
    return show_ratio(summary.speedup.estimate), interval(summary.speedup, show_ratio)


def best_of_each(figures: Figures, cells: Sequence[CellSummary]) -> list[CellSummary]:
    """The fastest number of workers of each approach on each interpreter, best first."""
    best: dict[tuple[str, str], CellSummary] = {}
    for summary in figures.best_first(cells):
        best.setdefault((summary.approach, summary.cell.interpreter), summary)
    return list(best.values())


def at_workers(cells: Sequence[CellSummary], workers: int) -> list[CellSummary]:
    """The cells with that many workers, and the sequential ones beside them."""
    return [s for s in cells if s.cell.executor == "sequential" or s.cell.workers == workers]


def lines(cells: Sequence[CellSummary]) -> list[list[CellSummary]]:
    """Cells that differ in workers only, by workers; sequential left out."""
    found: dict[tuple[str, str], list[CellSummary]] = {}
    for summary in cells:
        if summary.cell.executor != "sequential":
            found.setdefault((summary.cell.executor, summary.cell.interpreter), []).append(summary)
    return [sorted(line, key=lambda s: s.cell.workers) for line in found.values()]
