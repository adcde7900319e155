"""The charts: Altair to SVG when the site is built, with colours as CSS variables.

A colour is written ``var(--tb-…)`` and stays so in the SVG: the page's stylesheet gives it a value
for light and one for dark. Each chart is drawn twice, wide and narrow, so that its text has the
same size on a desk and on a phone; the stylesheet shows the one that fits.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import pandas as pd
import vl_convert

from todobatch.lab.store.schema import CellSummary, Sample
from todobatch_reports.frames import Figures, span_frame

Size = Literal["wide", "narrow"]
TOTAL_WIDTH: dict[Size, int] = {"wide": 660, "narrow": 320}
VEGA_LITE = "6.4"
LABEL_COLUMN = 165
# The chart as a whole has a text alternative: its hundreds of marks need no roles.
MARK_ROLE = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
# A hundredth of a pixel is enough, and the page half as long.
LONG_FRACTION = re.compile(r"(\d\.\d\d)\d+")

INK, INK_2, GRID, MARK = "var(--tb-ink)", "var(--tb-ink-2)", "var(--tb-grid)", "var(--tb-mark)"
# One hue an approach, everywhere the same; each also has its own shape and its name beside it.
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


@dataclass(frozen=True, slots=True)
class Drawing:
    """One chart in one size: the SVG to show and the Vega specification that makes it live."""

    svg: str
    vega: dict[str, Any]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with what stands for it where it cannot be seen."""

    name: str
    title: str
    note: str
    alternative: str
    wide: Drawing
    narrow: Drawing


def make(
    name: str,
    title: str,
    alternative: str,
    draw: Callable[[Size], alt.TopLevelMixin],
    *,
    note: str = "",
) -> Chart:
    """Render a chart in both sizes; `note` says how to read it, `alternative` stands for it."""
    return Chart(name, title, note, alternative, render(draw("wide")), render(draw("narrow")))


def render(chart: alt.TopLevelMixin) -> Drawing:
    """Compile and draw one chart."""
    vega: dict[str, Any] = vl_convert.vegalite_to_vega(chart.to_dict(), vl_version=VEGA_LITE)
    svg = LONG_FRACTION.sub(r"\1", MARK_ROLE.sub("", vl_convert.vega_to_svg(vega)))
    head = svg[: svg.index(">")]
    return Drawing(svg, vega, _attribute(head, "width"), _attribute(head, "height"))


def _attribute(tag: str, name: str) -> int:
    value = tag.partition(f' {name}="')[2].partition('"')[0]
    return round(float(value))


def as_json(drawing: Drawing) -> str:
    """The specification for a script element: nothing in it can end that element."""
    return json.dumps(drawing.vega, separators=(",", ":")).replace("<", "\\u003c")


# What all charts share ----------------------------------------------------------------------------


def _configured(chart: Any) -> alt.TopLevelMixin:
    font = "system-ui, sans-serif"
    configured: alt.TopLevelMixin = chart.properties(
        background="transparent",
        padding=4,
        config=alt.Config(
            aria=False,
            font=font,
            axis=alt.AxisConfig(
                labelColor=INK_2,
                titleColor=INK_2,
                gridColor=GRID,
                tickColor=GRID,
                domainColor=GRID,
                labelFontSize=12,
                titleFontSize=12,
                titleFontWeight="normal",
                titlePadding=8,
            ),
            legend=alt.LegendConfig(
                labelColor=INK, titleColor=INK_2, labelFontSize=12, labelLimit=220, symbolSize=70
            ),
            header=alt.HeaderConfig(
                labelColor=INK,
                titleColor=INK_2,
                labelFontSize=12,
                labelFontWeight="bold",
                labelLimit=260,
            ),
            view=alt.ViewConfig(stroke=None),
            text=alt.MarkConfig(color=INK_2, fontSize=11),
        ),
    )
    return configured


def colour_of(executor: str, *, gil_enabled: bool, others: Sequence[str] = ()) -> str:
    """The colour of an approach; executors that users add take the further ones in turn."""
    if executor == "threads" and not gil_enabled:
        return COLOURS["free"]
    if executor in COLOURS:
        return COLOURS[executor]
    place = list(others).index(executor) if executor in others else 0
    return FURTHER_COLOURS[place % len(FURTHER_COLOURS)]


def _colours(summaries: Sequence[CellSummary]) -> tuple[list[str], list[str]]:
    unknown = sorted({s.cell.executor for s in summaries} - set(COLOURS))
    found = {
        s.approach: colour_of(s.cell.executor, gil_enabled=s.gil_enabled, others=unknown)
        for s in summaries
    }
    return list(found), list(found.values())


def _approach_colour(
    summaries: Sequence[CellSummary], legend: alt.Legend | None = None
) -> alt.Color:
    domain, colours = _colours(summaries)
    return alt.Color(
        "approach:N", scale=alt.Scale(domain=domain, range=colours), legend=legend, title=None
    )


def _approach_shape(
    summaries: Sequence[CellSummary], legend: alt.Legend | None = None
) -> alt.Shape:
    domain, _ = _colours(summaries)
    shapes = [SHAPES[place % len(SHAPES)] for place in range(len(domain))]
    return alt.Shape(
        "approach:N", scale=alt.Scale(domain=domain, range=shapes), legend=legend, title=None
    )


def _legend(size: Size) -> alt.Legend:
    return alt.Legend(
        orient="top",
        columns=5 if size == "wide" else 2,
        columnPadding=22,
        direction="horizontal",
        symbolOpacity=1,
    )


# Dashboard ----------------------------------------------------------------------------------------


def speedups(figures: Figures, workload: str) -> Callable[[Size], alt.TopLevelMixin]:
    """Speed-up of each approach with its interval, a row for each number of workers."""
    line = [s for s in figures.of_workload(workload) if s.cell.executor != "sequential"]
    frame = figures.cells
    frame = frame[(frame["workload"] == workload) & (frame["executor"] != "sequential")].copy()
    frame["Interval"] = [_interval_text(*row) for row in _three(frame, "speedup", "{:.2f}×")]
    frame["Speed-up"] = frame["speedup"].map("{:.2f}×".format)
    # A single sample has no interval: it is drawn as its point alone.
    for end in ("low", "high"):
        frame[f"speedup_{end}"] = frame[f"speedup_{end}"].fillna(frame["speedup"])
    order = list(dict.fromkeys(figures.label(s) for s in figures.best_first(line)))
    top = float(frame["speedup_high"].max())
    shown = ["label", "approach", "workers", "samples", "Speed-up", "Interval"]
    frame = frame[[*shown, "speedup", "speedup_low", "speedup_high"]]

    def draw(size: Size) -> alt.TopLevelMixin:
        x = alt.X(
            "speedup:Q",
            title="speed-up against sequential on the same interpreter (×)",
            scale=alt.Scale(domain=[0, max(1.2, top * 1.04)], nice=False),
            axis=alt.Axis(tickCount=5, format="~g"),
        )
        y = alt.Y("workers:O", title=None, axis=alt.Axis(grid=False, ticks=False, domain=False))
        base = alt.Chart(frame).encode(
            y=y,
            color=_approach_colour(line),
            tooltip=[
                alt.Tooltip("label:N", title="Approach"),
                alt.Tooltip("workers:O", title="Workers"),
                alt.Tooltip("Speed-up:N"),
                alt.Tooltip("Interval:N", title="95 % interval"),
                alt.Tooltip("samples:Q", title="Samples"),
            ],
        )
        one = alt.Chart(frame).mark_rule(color=INK_2, strokeDash=[3, 3]).encode(x=alt.datum(1))
        bar = base.mark_rule(strokeWidth=5, opacity=0.35).encode(
            x=alt.X("speedup_low:Q"), x2="speedup_high:Q"
        )
        point = base.mark_point(filled=True, size=64, opacity=1).encode(
            x=x, shape=_approach_shape(line)
        )
        wide = size == "wide"
        header = alt.Header(
            title=None,
            labelAngle=0,
            # Left-aligned, with room to the right: a reader's font may be wider than ours.
            labelAlign="left",
            labelOrient="left" if wide else "top",
            labelAnchor=alt.Undefined if wide else "start",
            labelPadding=65 if wide else 4,
        )
        layers = alt.layer(one, bar, point, data=frame).properties(
            width=455 if wide else 280, height=alt.Step(17)
        )
        return _configured(
            layers.facet(row=alt.Row("label:N", header=header, sort=order), spacing=8)
        )

    return draw


# Scaling ------------------------------------------------------------------------------------------


def _scaling_frame(figures: Figures, workload: str, measure: str) -> pd.DataFrame:
    cells = figures.cells[
        (figures.cells["workload"] == workload) & (figures.cells["executor"] != "sequential")
    ].copy()
    cells["kind"] = "estimate"
    samples = figures.samples[
        (figures.samples["workload"] == workload)
        & (figures.samples["executor"] != "sequential")
        & (figures.samples["void"] == "")
    ].copy()
    samples["kind"] = "sample"
    samples["efficiency"] = samples["speedup"] / samples["workers"].clip(upper=figures.cpus)
    counts = sorted(cells["workers"].unique())
    ideal = pd.DataFrame(
        [
            {
                "kind": "ideal",
                "interpreter": name,
                "workers": count,
                "speedup": float(min(count, figures.cpus)),
                "efficiency": 1.0,
            }
            for name in cells["interpreter"].unique()
            for count in counts
        ]
    )
    low, high = f"{measure}_low", f"{measure}_high"
    columns = ["kind", "approach", "interpreter", "workers", measure]
    frame = pd.concat(
        [
            cells[[*columns, low, high, "samples"]],
            samples[columns],
            ideal[["kind", "interpreter", "workers", measure]],
        ],
        ignore_index=True,
    )
    frame["panel"] = "Python " + frame["interpreter"]
    return frame


def scaling(
    figures: Figures, workload: str, measure: Literal["speedup", "efficiency"]
) -> Callable[[Size], alt.TopLevelMixin]:
    """Speed-up or efficiency by workers: a panel for each interpreter, the ideal as dashed line."""
    line = [s for s in figures.of_workload(workload) if s.cell.executor != "sequential"]
    frame = _scaling_frame(figures, workload, measure)
    counts = [int(count) for count in sorted(frame["workers"].unique())]
    percent = measure == "efficiency"
    shown = "{:.0%}" if percent else "{:.2f}×"
    frame["Value"] = [shown.format(value) for value in frame[measure]]
    frame["Interval"] = [_interval_text(*row) for row in _three(frame, measure, shown)]
    top = float(frame[[measure, f"{measure}_high"]].max().max()) * 1.05
    title = "efficiency" if percent else "speed-up (×)"

    def draw(size: Size) -> alt.TopLevelMixin:
        wide = size == "wide"
        x = alt.X(
            "workers:Q",
            title="workers",
            scale=alt.Scale(type="log", base=2, domain=[min(counts) * 0.9, max(counts) * 1.12]),
            axis=alt.Axis(values=counts, format="d", grid=False),
        )
        y = alt.Y(
            f"{measure}:Q",
            title=title,
            scale=alt.Scale(domain=[0, top], nice=False),
            axis=alt.Axis(tickCount=5, format=".0%" if percent else "~g"),
        )
        base = alt.Chart(frame).encode(x=x)
        ideal = (
            base.transform_filter("datum.kind == 'ideal'")
            .mark_line(color=INK_2, strokeDash=[5, 4], strokeWidth=1.5)
            .encode(y=y)
        )
        tooltip = [
            alt.Tooltip("approach:N", title="Approach"),
            alt.Tooltip("interpreter:N", title="Python"),
            alt.Tooltip("workers:Q", title="Workers"),
            alt.Tooltip("Value:N", title="Efficiency" if percent else "Speed-up"),
        ]
        estimate = base.transform_filter("datum.kind == 'estimate'").encode(
            color=_approach_colour(line, _legend(size))
        )
        layers = [
            ideal,
            base.transform_filter("datum.kind == 'sample'")
            .mark_point(filled=True, size=14, opacity=0.4)
            .encode(y=y, color=_approach_colour(line, _legend(size)), tooltip=tooltip),
            estimate.mark_rule(strokeWidth=2, opacity=0.6).encode(
                y=alt.Y(f"{measure}_low:Q"), y2=f"{measure}_high:Q"
            ),
            estimate.mark_line(strokeWidth=2).encode(y=y),
            estimate.mark_point(filled=True, size=60, opacity=1).encode(
                y=y,
                shape=_approach_shape(line, _legend(size)),
                tooltip=[*tooltip, alt.Tooltip("Interval:N", title="95 % interval")],
            ),
        ]
        panels = frame["panel"].nunique()
        layered = alt.layer(*layers, data=frame).properties(
            width=(250 if panels > 1 else 540) if wide else 250, height=220 if wide else 190
        )
        return _configured(
            layered.facet(
                facet=alt.Facet("panel:N", title=None, header=alt.Header(labelAnchor="start")),
                columns=2 if wide else 1,
                spacing=28,
            )
        )

    return draw


# Profile ------------------------------------------------------------------------------------------

MOST_BARS = 400


def timeline(
    shown: Sequence[tuple[CellSummary, str, Sample]],
) -> Callable[[Size], alt.TopLevelMixin]:
    """When each worker ran a batch, for some samples under each other on one clock."""
    frames = []
    for summary, label, sample in shown:
        frame = joined(span_frame(sample), sample.wall_s)
        names = {w: f"{n}" for n, w in enumerate(sorted(frame["worker"].unique()), start=1)}
        frame["lane"] = frame["worker"].map(names)
        frame["approach"] = summary.approach
        frame["panel"] = label
        frames.append(frame)
    frame = pd.concat(frames, ignore_index=True)
    frame["Start"] = (frame["start_s"] * 1e3).map("{:.1f} ms".format)
    frame["End"] = (frame["end_s"] * 1e3).map("{:.1f} ms".format)
    order = [label for _, label, _ in shown]
    summaries = [summary for summary, _, _ in shown]

    def draw(size: Size) -> alt.TopLevelMixin:
        wide = size == "wide"
        bars = (
            alt.Chart(frame)
            .mark_bar(height=12, stroke="var(--tb-paper)", strokeWidth=0.6)
            .encode(
                x=alt.X(
                    "start_s:Q",
                    title="seconds since the clock started",
                    axis=alt.Axis(tickCount=6),
                ),
                x2="end_s:Q",
                y=alt.Y(
                    "lane:N",
                    title="worker",
                    axis=alt.Axis(grid=False, ticks=False, titleAngle=0, titleAlign="right"),
                ),
                color=_approach_colour(summaries),
                tooltip=[
                    alt.Tooltip("worker:N", title="Worker"),
                    alt.Tooltip("batches:N", title="Batches"),
                    alt.Tooltip("Start:N"),
                    alt.Tooltip("End:N"),
                ],
            )
            .properties(width=560 if wide else 235, height=alt.Step(18))
        )
        return _configured(
            bars.facet(
                row=alt.Row(
                    "panel:N",
                    title=None,
                    sort=order,
                    header=alt.Header(
                        labelAngle=0, labelOrient="top", labelAnchor="start", labelAlign="left"
                    ),
                ),
                spacing=14,
            ).resolve_scale(y="independent")
        )

    return draw


def joined(frame: pd.DataFrame, wall_s: float) -> pd.DataFrame:
    """Spans as bars: neighbours of one worker become one bar where there are too many to see."""
    gap = 0.0
    bars = _join(frame, gap=-1.0)
    while len(bars) > MOST_BARS:
        gap = max(gap * 2, wall_s / 2000)
        bars = _join(frame, gap=gap)
    return bars


def _join(frame: pd.DataFrame, *, gap: float) -> pd.DataFrame:
    bars: list[dict[str, Any]] = []
    for worker, spans in frame.groupby("worker"):
        count, first = 0, len(bars)
        for span in spans.sort_values("start_s").itertuples():
            count += 1
            if gap >= 0 and len(bars) > first and span.start_s - bars[-1]["end_s"] <= gap:
                bars[-1]["end_s"] = max(bars[-1]["end_s"], span.end_s)
                bars[-1]["count"] += 1
                continue
            bars.append(
                {
                    "worker": worker,
                    "start_s": span.start_s,
                    "end_s": span.end_s,
                    "batch": span.batch,
                    "count": 1,
                }
            )
    result = pd.DataFrame(bars)
    result["batches"] = [
        f"{batch}" if count == 1 else f"{count} from {batch}"
        for batch, count in zip(result["batch"], result["count"], strict=True)
    ]
    return result


# Resources ----------------------------------------------------------------------------------------


def memory(figures: Figures, chosen: Sequence[CellSummary]) -> Callable[[Size], alt.TopLevelMixin]:
    """Peak memory of the whole process tree, one bar a cell."""
    keys = {summary.cell.key for summary in chosen}
    frame = figures.cells[figures.cells["cell"].isin(keys)].copy()
    frame["mb"] = frame["peak_bytes"] / 1e6
    frame["mb_low"] = (frame["peak_bytes_low"] / 1e6).fillna(frame["mb"])
    frame["mb_high"] = (frame["peak_bytes_high"] / 1e6).fillna(frame["mb"])
    frame["Peak"] = frame["mb"].map("{:.1f} MB".format)
    order = list(frame.sort_values("mb")["label"])
    frame = frame[["label", "approach", "workers", "mb", "mb_low", "mb_high", "Peak"]]

    def draw(size: Size) -> alt.TopLevelMixin:
        wide = size == "wide"
        base = alt.Chart(frame).encode(
            y=alt.Y(
                "label:N",
                sort=order,
                title=None,
                axis=alt.Axis(
                    grid=False,
                    ticks=False,
                    domain=False,
                    labelAlign="left",
                    labelPadding=LABEL_COLUMN - 10,
                    labelLimit=LABEL_COLUMN,
                ),
            )
        )
        bars = base.mark_bar(height=14, opacity=0.85).encode(
            x=alt.X("mb:Q", title="peak memory (MB)"),
            color=_approach_colour(list(chosen)),
            tooltip=[
                alt.Tooltip("label:N", title="Approach"),
                alt.Tooltip("workers:O", title="Workers"),
                alt.Tooltip("Peak:N", title="Peak memory"),
            ],
        )
        error = base.mark_rule(color=INK, strokeWidth=1.5).encode(x="mb_low:Q", x2="mb_high:Q")
        return _configured(
            alt.layer(bars, error).properties(width=460 if wide else 140, height=alt.Step(24))
        )

    return draw


def _three(frame: pd.DataFrame, measure: str, shown: str) -> list[tuple[str, float, float]]:
    return [
        (shown, low, high)
        for low, high in zip(frame[f"{measure}_low"], frame[f"{measure}_high"], strict=True)
    ]


def _interval_text(shown: str, low: float, high: float) -> str:
    if pd.isna(low):
        return "one sample gives none"
    return f"{shown.format(low)} – {shown.format(high)}"
