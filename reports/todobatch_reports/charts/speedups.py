"""The dashboard's chart of the speed-up of each approach."""

from collections.abc import Sequence
from functools import partial

import altair as alt
import pandas as pd

from todobatch.lab.store.schema import CellSummary
from todobatch_reports.charts import style
from todobatch_reports.charts.drawing import Draw, Size
from todobatch_reports.frames import Figures


def speedups(figures: Figures, workload: str) -> Draw:
    """Draw the speed-up of each approach with its interval, a row for each number of workers."""
    cells = [s for s in figures.of_workload(workload) if s.cell.executor != "sequential"]
    frame = figures.cells
    frame = frame[(frame["workload"] == workload) & (frame["executor"] != "sequential")].copy()
    frame["Interval"] = style.interval_texts(frame, "speedup", "{:.2f}×")
    frame["Speed-up"] = frame["speedup"].map("{:.2f}×".format)
    frame = style.with_point_intervals(frame, "speedup")
    shown = ["label", "approach", "workers", "samples", "Speed-up", "Interval"]
    frame = frame[[*shown, "speedup", "speedup_low", "speedup_high"]]
    order = list(dict.fromkeys(figures.label(s) for s in figures.best_first(cells)))
    return partial(_draw, frame, cells, order)


def _draw(
    frame: pd.DataFrame, cells: Sequence[CellSummary], order: list[str], size: Size
) -> alt.TopLevelMixin:
    wide = size == "wide"
    top = float(frame["speedup_high"].max())
    base = alt.Chart(frame).encode(
        y=alt.Y("workers:O", title=None, axis=alt.Axis(grid=False, ticks=False, domain=False)),
        color=style.approach_colour(cells),
        tooltip=[
            alt.Tooltip("label:N", title="Approach"),
            alt.Tooltip("workers:O", title="Workers"),
            alt.Tooltip("Speed-up:N"),
            alt.Tooltip("Interval:N", title="95 % interval"),
            alt.Tooltip("samples:Q", title="Samples"),
        ],
    )
    sequential = alt.Chart(frame).mark_rule(color=style.INK_2, strokeDash=[3, 3])
    interval = base.mark_rule(strokeWidth=5, opacity=0.35).encode(
        x=alt.X("speedup_low:Q"), x2="speedup_high:Q"
    )
    estimate = base.mark_point(filled=True, size=64, opacity=1).encode(
        x=alt.X(
            "speedup:Q",
            title="speed-up against sequential on the same interpreter (×)",
            scale=alt.Scale(domain=[0, max(1.2, top * 1.04)], nice=False),
            axis=alt.Axis(tickCount=5, format="~g"),
        ),
        shape=style.approach_shape(cells),
    )
    header = alt.Header(
        title=None,
        labelAngle=0,
        # There is room to the right, because a reader's font may be wider.
        labelAlign="left",
        labelOrient="left" if wide else "top",
        labelAnchor=alt.Undefined if wide else "start",
        labelPadding=65 if wide else 4,
    )
    layers = alt.layer(
        sequential.encode(x=alt.datum(1)), interval, estimate, data=frame
    ).properties(width=455 if wide else 280, height=alt.Step(17))
    row = alt.Row("label:N", header=header, sort=order)
    return style.configured(layers.facet(row=row, spacing=8))
