"""The charts of speed-up and efficiency by number of workers."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import altair as alt
import pandas as pd

from todobatch.lab.store.schema import CellSummary
from todobatch_reports.charts import style
from todobatch_reports.charts.drawing import Draw, Size
from todobatch_reports.frames import Figures

Measure = Literal["speedup", "efficiency"]


def scaling(figures: Figures, workload: str, measure: Measure) -> Draw:
    """Draw a panel for each interpreter, with the samples and the ideal as a dashed line."""
    cells = [s for s in figures.of_workload(workload) if s.cell.executor != "sequential"]
    frame = _frame(figures, workload, measure)
    shown = "{:.0%}" if measure == "efficiency" else "{:.2f}×"
    frame["Value"] = [shown.format(value) for value in frame[measure]]
    frame["Interval"] = style.interval_texts(frame, measure, shown)
    return partial(_draw, frame, cells, measure)


def _frame(figures: Figures, workload: str, measure: str) -> pd.DataFrame:
    """Return a row for each estimate, each valid sample and each point of the ideal line."""

    def parallel(frame: pd.DataFrame) -> pd.DataFrame:
        chosen = (frame["workload"] == workload) & (frame["executor"] != "sequential")
        return frame[chosen].copy()

    cells, samples = parallel(figures.cells), parallel(figures.samples)
    samples = samples[samples["void"] == ""]
    samples["efficiency"] = samples["speedup"] / samples["workers"].clip(upper=figures.cpus)
    ideal = cells[["interpreter", "workers"]].drop_duplicates()
    ideal["speedup"] = ideal["workers"].clip(upper=figures.cpus).astype(float)
    ideal["efficiency"] = 1.0
    columns = ["kind", "approach", "interpreter", "workers", measure]
    frame = pd.concat(
        [
            cells.assign(kind="estimate")[
                [*columns, f"{measure}_low", f"{measure}_high", "samples"]
            ],
            samples.assign(kind="sample")[columns],
            ideal.assign(kind="ideal")[["kind", "interpreter", "workers", measure]],
        ],
        ignore_index=True,
    )
    frame["panel"] = "Python " + frame["interpreter"]
    return frame


def _draw(
    frame: pd.DataFrame, cells: Sequence[CellSummary], measure: Measure, size: Size
) -> alt.TopLevelMixin:
    wide = size == "wide"
    counts = [int(count) for count in sorted(frame["workers"].unique())]
    x = alt.X(
        "workers:Q",
        title="workers",
        scale=alt.Scale(type="log", base=2, domain=[min(counts) * 0.9, max(counts) * 1.12]),
        axis=alt.Axis(values=counts, format="d", grid=False),
    )
    panels = frame["panel"].nunique()
    layers = alt.layer(*_layers(frame, cells, measure, x, size), data=frame).properties(
        width=540 if wide and panels == 1 else 250, height=220 if wide else 190
    )
    return style.configured(
        layers.facet(
            facet=alt.Facet("panel:N", title=None, header=alt.Header(labelAnchor="start")),
            columns=2 if wide else 1,
            spacing=28,
        )
    )


def _layers(
    frame: pd.DataFrame, cells: Sequence[CellSummary], measure: Measure, x: alt.X, size: Size
) -> list[Any]:
    percent = measure == "efficiency"
    top = float(frame[[measure, f"{measure}_high"]].max().max()) * 1.05
    y = alt.Y(
        f"{measure}:Q",
        title="efficiency" if percent else "speed-up (×)",
        scale=alt.Scale(domain=[0, top], nice=False),
        axis=alt.Axis(tickCount=5, format=".0%" if percent else "~g"),
    )
    tooltip = [
        alt.Tooltip("approach:N", title="Approach"),
        alt.Tooltip("interpreter:N", title="Python"),
        alt.Tooltip("workers:Q", title="Workers"),
        alt.Tooltip("Value:N", title="Efficiency" if percent else "Speed-up"),
    ]
    base = alt.Chart(frame).encode(x=x)
    colour = style.approach_colour(cells, style.legend(size))
    estimate = base.transform_filter("datum.kind == 'estimate'").encode(color=colour)
    return [
        base.transform_filter("datum.kind == 'ideal'")
        .mark_line(color=style.INK_2, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(y=y),
        base.transform_filter("datum.kind == 'sample'")
        .mark_point(filled=True, size=14, opacity=0.4)
        .encode(y=y, color=colour, tooltip=tooltip),
        estimate.mark_rule(strokeWidth=2, opacity=0.6).encode(
            y=alt.Y(f"{measure}_low:Q"), y2=f"{measure}_high:Q"
        ),
        estimate.mark_line(strokeWidth=2).encode(y=y),
        estimate.mark_point(filled=True, size=60, opacity=1).encode(
            y=y,
            shape=style.approach_shape(cells, style.legend(size)),
            tooltip=[*tooltip, alt.Tooltip("Interval:N", title="95 % interval")],
        ),
    ]
