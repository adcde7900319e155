"""Shared parts of all pages: charts as HTML, and values that every template uses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from todobatch.lab.notes import Kind, notes
from todobatch.processors import WORKLOADS
from todobatch.units import show_count, show_ratio
from todobatch_reports import charts, tables
from todobatch_reports.charts import Chart, Drawing
from todobatch_reports.charts.drawing import Draw
from todobatch_reports.frames import Figures, split_sentence
from todobatch_reports.markup import Html, address

CAUTIONS: frozenset[Kind] = frozenset({"torn", "busy", "doctor"})
"""Notes that stand in a box above the figures."""
ON_TOP: frozenset[Kind] = frozenset({"quick", "unfinished"})
"""Notes for which the dashboard has boxes of its own."""
TEMPLATES = Path(__file__).parents[1] / "assets" / "templates"
SIZE = Html('<div class="tb-{size}" style="height:{height}px" aria-hidden="true">{svg}</div>')
FIGURE = Html(
    '<figure class="tb-figure"><figcaption>{title}{note}</figcaption>'
    '<div class="tb-chart" data-chart="{name}" role="img" tabindex="0" '
    'aria-label="{alternative}">{sizes}</div></figure>'
)


@dataclass(slots=True)
class Pages:
    """The Markdown of each page by file name, and every chart drawn for them."""

    texts: dict[str, str] = field(default_factory=dict)
    charts: list[Chart] = field(default_factory=list)

    def draw(self, name: str, title: str, alternative: str, draw: Draw, *, note: str) -> Html:
        """Draw a chart (see `Chart` for the texts), keep it, and return its HTML."""
        chart = charts.make(name, title, alternative, draw, note=note)
        self.charts.append(chart)
        sizes = Html("").join(
            SIZE.format(size=size, height=drawing.height, svg=_markup(drawing))
            for size, drawing in (("wide", chart.wide), ("narrow", chart.narrow))
        )
        note_html = Html("<span>{}</span>").format(note)
        return FIGURE.format(
            title=title, note=note_html, name=name, alternative=alternative, sizes=sizes
        )


def _markup(drawing: Drawing) -> Html:
    # An empty line would end the block of HTML in Markdown.
    return Html(" ".join(drawing.svg.split("\n")))  # noqa: S704 - Vega escapes the text in it


def stresses(workload: str) -> str:
    """Return what a workload stresses, in words."""
    info = WORKLOADS.get(workload)
    return info.stresses if info else "your own processor"


def shared_context(figures: Figures) -> dict[str, Any]:
    """Return the values and functions that every template may use."""
    meta = figures.meta
    known = list(notes(figures.run, figures.workloads))
    good = [sample for sample in figures.run.samples if sample.void is None]
    cpu = str(meta.machine.get("cpu_model") or "this machine")
    return {
        "meta": meta,
        "plan": meta.plan,
        "figures": figures,
        "machine": f"{cpu}, {show_count(figures.cpus, 'CPU')}",
        "started": meta.started[:16].replace("T", " "),
        "good": len(good),
        "voids": len(figures.run.samples) - len(good),
        "blocks": len({sample.block for sample in good}),
        "cautions": [note for note in known if note.kind in CAUTIONS],
        "notes": [note for note in known if note.kind not in {*CAUTIONS, *ON_TOP}],
        "quick": meta.plan.mode == "quick",
        "unfinished": meta.ended is None,
        "address": address,
        "split_sentence": split_sentence,
        "stresses": stresses,
        "verdict": tables.verdict,
        "link": tables.link,
        "with_interval": tables.with_interval,
        "show_ratio": show_ratio,
    }
