"""The chart of when each worker ran a batch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import altair as alt
import pandas as pd

from todobatch.lab.store.schema import CellSummary, Sample
from todobatch_reports.charts import style
from todobatch_reports.charts.drawing import Draw, Size
from todobatch_reports.frames import span_frame

MOST_BARS = 400
MOST_LANES = 40
"""The chart has a lane for each worker, up to this many; the others share one more."""
MORE = " more"


def timeline(shown: Sequence[tuple[CellSummary, str, Sample]]) -> Draw:
    """Draw when each worker ran a batch, with all samples (cell, label, sample) on one axis."""
    frames = []
    for summary, label, sample in shown:
        frame = joined(folded(span_frame(sample), sample.workers), sample.wall_s)
        workers = sorted(w for w in frame["worker"].unique() if not w.endswith(MORE))
        lanes = {w: f"{n}" for n, w in enumerate(workers, start=1)}
        lane = frame["worker"].map(lanes).fillna(frame["worker"])
        frames.append(frame.assign(lane=lane, approach=summary.approach, panel=label))
    frame = pd.concat(frames, ignore_index=True)
    for name in ("start", "end"):
        frame[name.capitalize()] = (frame[f"{name}_s"] * 1e3).map("{:.1f} ms".format)
    return partial(_draw, frame, [s for s, _, _ in shown], [label for _, label, _ in shown])


def _draw(
    frame: pd.DataFrame, cells: Sequence[CellSummary], order: list[str], size: Size
) -> alt.TopLevelMixin:
    bars = (
        alt.Chart(frame)
        .mark_bar(height=12, stroke="var(--tb-paper)", strokeWidth=0.6)
        .encode(
            x=alt.X(
                "start_s:Q", title="seconds since the clock started", axis=alt.Axis(tickCount=6)
            ),
            x2="end_s:Q",
            y=alt.Y(
                "lane:N",
                title="worker",
                axis=alt.Axis(grid=False, ticks=False, titleAngle=0, titleAlign="right"),
            ),
            color=style.approach_colour(cells),
            tooltip=[
                alt.Tooltip("worker:N", title="Worker"),
                alt.Tooltip("batches:N", title="Batches"),
                alt.Tooltip("Start:N"),
                alt.Tooltip("End:N"),
            ],
        )
        .properties(width=560 if size == "wide" else 235, height=alt.Step(18))
    )
    header = alt.Header(labelAngle=0, labelOrient="top", labelAnchor="start", labelAlign="left")
    row = alt.Row("panel:N", title=None, sort=order, header=header)
    return style.configured(bars.facet(row=row, spacing=14).resolve_scale(y="independent"))


def folded(frame: pd.DataFrame, workers: int) -> pd.DataFrame:
    """Give one name to all workers but the `workers` busiest, if some of these were replaced."""
    sizes = frame["worker"].value_counts()
    rest = sizes.index[min(workers, MOST_LANES) :]
    named = frame["worker"].where(~frame["worker"].isin(rest), f"{len(rest)}{MORE}")
    return frame.assign(worker=named)


def joined(frame: pd.DataFrame, wall_s: float) -> pd.DataFrame:
    """Turn spans into bars, and join a worker's neighbours where there are too many to see."""
    bars, gap = _join(frame, gap=-1.0), 0.0
    while len(bars) > MOST_BARS:
        gap = max(gap * 2, wall_s / 2000)
        bars = _join(frame, gap=gap)
    return bars


def _join(frame: pd.DataFrame, *, gap: float) -> pd.DataFrame:
    """Join spans of a worker that are at most `gap` seconds apart; below 0, join none."""
    bars: list[dict[str, Any]] = []
    for worker, spans in frame.groupby("worker"):
        first = len(bars)
        for span in spans.sort_values("start_s").itertuples():
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
