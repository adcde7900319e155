"""Format figures as text and tables as HTML, in the same way on every page."""

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

from todobatch.lab.store.schema import Cell, CellSummary, Estimate
from todobatch.units import show_ratio
from todobatch_reports.frames import anchor

NONE = "–"
VERDICTS = {"equivalent": "indistinguishable, within 2 %", "inconclusive": "inconclusive"}


def interval(estimate: Estimate | None, show: Callable[[float], str]) -> str:
    """Return ``'1.90× – 1.96×'``, or a dash where a single sample gives no interval."""
    if estimate is None or math.isnan(estimate.low):
        return NONE
    return f"{show(estimate.low)} – {show(estimate.high)}"


def with_interval(estimate: Estimate, show: Callable[[float], str]) -> str:
    """Return ``'1.93× (95 % interval 1.90× – 1.96×)'``, or the value of a single sample."""
    if math.isnan(estimate.low):
        return f"{show(estimate.estimate)} (one sample, so no interval)"
    return f"{show(estimate.estimate)} (95 % interval {interval(estimate, show)})"


def link(cell: Cell, text: str) -> Markup:
    """Return `text` as a link to the cell's row on the data page."""
    return Markup('<a href="data.html#{}">{}</a>').format(anchor(cell), text)


def gil(*, enabled: bool) -> str:
    """Return the state of the GIL in words."""
    return "GIL on" if enabled else "GIL off"


def verdict(name: str) -> str:
    """Return a verdict as the pages show it."""
    return VERDICTS.get(name, name)


def percent_1(fraction: float) -> str:
    """Return a fraction as a percentage with one decimal: ``'0.7 %'``."""
    return f"{fraction * 100:.1f} %"


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
    """Return a table as HTML, in a box that scrolls where the table is wider than the page.

    `kinds` has one letter a column: ``n`` is a number, set to the right; ``w`` is text that wraps.
    `ids` are the rows' ids in the page. `marks` colours rows: ``'best'``, ``'tied'`` or none.
    With `stacks`, the cells of a row are stacked on a phone.
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


def speedup(summary: CellSummary) -> tuple[str, str]:
    """Return a speed-up and its interval as text; for sequential ``'base'`` and a dash."""
    if summary.cell.executor == "sequential":
        return "base", NONE
    if summary.speedup is None:
        return NONE, NONE
    return show_ratio(summary.speedup.estimate), interval(summary.speedup, show_ratio)
