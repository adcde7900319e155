"""The chart of peak memory by approach."""

from collections.abc import Sequence
from functools import partial

import altair as alt
import pandas as pd

from todobatch.lab.store.schema import CellSummary
from todobatch_reports.charts import style
from todobatch_reports.charts.drawing import Draw, Size
from todobatch_reports.frames import Figures

LABEL_COLUMN = 165


def memory(figures: Figures, chosen: Sequence[CellSummary]) -> Draw:
    """Draw the peak memory of the whole process tree, a bar for each cell."""
    keys = {summary.cell.key for summary in chosen}
    frame = figures.cells[figures.cells["cell"].isin(keys)].copy()
    for end in ("", "_low", "_high"):
        frame[f"mb{end}"] = frame[f"peak_bytes{end}"] / 1e6
    frame = style.with_point_intervals(frame, "mb")
    frame["Peak"] = frame["mb"].map("{:.1f} MB".format)
    frame = frame[["label", "approach", "workers", "mb", "mb_low", "mb_high", "Peak"]]
    return partial(_draw, frame, chosen)


def _draw(frame: pd.DataFrame, chosen: Sequence[CellSummary], size: Size) -> alt.TopLevelMixin:
    label_axis = alt.Axis(
        grid=False,
        ticks=False,
        domain=False,
        labelAlign="left",
        labelPadding=LABEL_COLUMN - 10,
        labelLimit=LABEL_COLUMN,
    )
    order = list(frame.sort_values("mb")["label"])
    base = alt.Chart(frame).encode(y=alt.Y("label:N", sort=order, title=None, axis=label_axis))
    bars = base.mark_bar(height=14, opacity=0.85).encode(
        x=alt.X("mb:Q", title="peak memory (MB)"),
        color=style.approach_colour(chosen),
        tooltip=[
            alt.Tooltip("label:N", title="Approach"),
            alt.Tooltip("workers:O", title="Workers"),
            alt.Tooltip("Peak:N", title="Peak memory"),
        ],
    )
    error = base.mark_rule(color=style.INK, strokeWidth=1.5).encode(x="mb_low:Q", x2="mb_high:Q")
    width = 460 if size == "wide" else 140
    return style.configured(alt.layer(bars, error).properties(width=width, height=alt.Step(24)))
