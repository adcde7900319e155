"""Colours, shapes, legends and texts that all charts share."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from todobatch.lab.store.schema import CellSummary
from todobatch_reports.charts.drawing import Size

INK, INK_2, GRID = "var(--tb-ink)", "var(--tb-ink-2)", "var(--tb-grid)"
# An approach has the same colour everywhere; shape and name do not depend on colour vision.
COLOURS = {
    "sequential": "var(--tb-sequential)",
    "threads": "var(--tb-threads)",
    "free": "var(--tb-free)",
    "interpreters": "var(--tb-interpreters)",
    "processes": "var(--tb-processes)",
    "coroutines": "var(--tb-coroutines)",
}
FURTHER_COLOURS = ("var(--tb-more-1)", "var(--tb-more-2)", "var(--tb-more-3)")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def configured(chart: Any) -> alt.TopLevelMixin:
    """Give a chart the fonts and colours of the site."""
    label: dict[str, Any] = {"labelColor": INK_2, "titleColor": INK_2, "labelFontSize": 12}
    result: alt.TopLevelMixin = chart.properties(
        background="transparent",
        padding=4,
        config=alt.Config(
            aria=False,
            font="system-ui, sans-serif",
            axis=alt.AxisConfig(
                **label,
                gridColor=GRID,
                tickColor=GRID,
                domainColor=GRID,
                titleFontSize=12,
                titleFontWeight="normal",
                titlePadding=8,
            ),
            legend=alt.LegendConfig(**label | {"labelColor": INK}, labelLimit=220, symbolSize=70),
            header=alt.HeaderConfig(
                **label | {"labelColor": INK}, labelFontWeight="bold", labelLimit=260
            ),
            view=alt.ViewConfig(stroke=None),
            text=alt.MarkConfig(color=INK_2, fontSize=11),
        ),
    )
    return result


def colour_of(executor: str, *, gil_enabled: bool, others: Sequence[str] = ()) -> str:
    """Return the colour of an approach; executors that users add get further colours in turn."""
    if executor == "threads" and not gil_enabled:
        return COLOURS["free"]
    if executor in COLOURS:
        return COLOURS[executor]
    place = list(others).index(executor) if executor in others else 0
    return FURTHER_COLOURS[place % len(FURTHER_COLOURS)]


def approach_colour(cells: Sequence[CellSummary], legend: alt.Legend | None = None) -> alt.Color:
    """Encode the approach as a colour."""
    others = sorted({s.cell.executor for s in cells} - set(COLOURS))
    colours = {
        s.approach: colour_of(s.cell.executor, gil_enabled=s.gil_enabled, others=others)
        for s in cells
    }
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("approach:N", scale=scale, legend=legend, title=None)


def approach_shape(cells: Sequence[CellSummary], legend: alt.Legend | None = None) -> alt.Shape:
    """Encode the approach as the shape of a point."""
    approaches = list(dict.fromkeys(s.approach for s in cells))
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(approaches))]
    scale = alt.Scale(domain=approaches, range=shapes)
    return alt.Shape("approach:N", scale=scale, legend=legend, title=None)


def legend(size: Size) -> alt.Legend:
    """Return the legend of approaches above a chart."""
    return alt.Legend(
        orient="top",
        columns=5 if size == "wide" else 2,
        columnPadding=22,
        direction="horizontal",
        symbolOpacity=1,
    )


def interval_texts(frame: pd.DataFrame, measure: str, shown: str) -> list[str]:
    """Return the interval of each row as text; `shown` is the format of one number."""
    bounds = zip(frame[f"{measure}_low"], frame[f"{measure}_high"], strict=True)
    return [
        "none: one sample" if pd.isna(low) else f"{shown.format(low)} – {shown.format(high)}"
        for low, high in bounds
    ]


def with_point_intervals(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Replace a missing interval by the estimate itself, so that it is drawn as a point."""
    ends = [f"{measure}_low", f"{measure}_high"]
    return frame.assign(**{end: frame[end].fillna(frame[measure]) for end in ends})
