"""Format figures as text and tables as HTML, in the same way on every page."""

import math
from collections.abc import Callable, Iterable, Sequence

from todobatch.lab.store.schema import Cell, CellSummary, Estimate
from todobatch.units import show_ratio
from todobatch_reports.frames import anchor
from todobatch_reports.markup import Html

NONE = "–"
KINDS = {"n": Html(' class="tb-n"'), "w": Html(' class="tb-w"')}
TH = Html('<th scope="row"{kind}>{value}</th>')
TD = Html("<td{kind}>{value}</td>")
TABLE = Html(
    '<div class="tb-scroll" data-search-exclude role="region" tabindex="0" aria-label="{caption}">'
    '<table class="tb-table{stacks}"><caption>{caption}</caption>'
    "<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
)
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


def link(cell: Cell, text: str) -> Html:
    """Return `text` as a link to the cell's row on the data page."""
    return Html('<a href="data.html#{}">{}</a>').format(anchor(cell), text)


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
) -> Html:
    """Return a table as HTML, in a box that scrolls where the table is wider than the page.

    `kinds` has one letter a column: ``n`` is a number, set to the right; ``w`` is text that wraps.
    `ids` are the rows' ids in the page. `marks` colours rows: ``'best'``, ``'tied'`` or none.
    With `stacks`, the cells of a row are stacked on a phone.
    """
    classes = [KINDS.get(kind, Html("")) for kind in kinds.ljust(len(heads), ".")]
    head = Html("").join(map(Html('<th scope="col"{}>{}</th>').format, classes, heads))
    body = []
    for place, row in enumerate(rows):
        cells = Html("").join(
            (TD if column else TH).format(kind=kind, value=value)
            for column, (value, kind) in enumerate(zip(row, classes, strict=True))
        )
        name = Html(' id="{}"').format(ids[place]) if ids else ""
        mark = Html(' class="tb-{}"').format(marks[place]) if marks and marks[place] else ""
        body.append(Html("<tr{}{}>{}</tr>").format(name, mark, cells))
    return TABLE.format(
        caption=caption, head=head, body=Html("").join(body), stacks=" tb-stack" * stacks
    )


def speedup(summary: CellSummary) -> tuple[str, str]:
    """Return a speed-up and its interval as text; for sequential ``'base'`` and a dash."""
    if summary.cell.executor == "sequential":
        return "base", NONE
    if summary.speedup is None:
        return NONE, NONE
    return show_ratio(summary.speedup.estimate), interval(summary.speedup, show_ratio)
