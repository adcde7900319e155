"""Render a chart in both sizes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import altair as alt
import vl_convert

from todobatch_reports.markup import shown

Size = Literal["wide", "narrow"]
Draw: TypeAlias = Callable[[Size], alt.TopLevelMixin]
VEGA_LITE = "6.4"
TAG = re.compile(r"<[^>]+>")
# The chart has a text alternative, so its hundreds of marks need no roles.
MARK_ROLE = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
# Two decimals of a pixel are enough, and halve the page.
LONG_FRACTION = re.compile(r"(\d\.\d\d)\d+")


@dataclass(frozen=True, slots=True)
class Drawing:
    """One chart in one size: the SVG to show, and the Vega specification for interaction."""

    svg: str
    vega: dict[str, Any]
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in both sizes. `note` says how to read it, `alternative` describes it in words."""

    name: str
    title: str
    note: str
    alternative: str
    wide: Drawing
    narrow: Drawing


def make(name: str, title: str, alternative: str, draw: Draw, *, note: str = "") -> Chart:
    """Render a chart in both sizes; see `Chart` for the texts."""
    return Chart(name, title, note, alternative, render(draw("wide")), render(draw("narrow")))


def render(chart: alt.TopLevelMixin) -> Drawing:
    """Compile and draw one chart."""
    lite = shown(chart.to_dict())
    vega: dict[str, Any] = vl_convert.vegalite_to_vega(lite, vl_version=VEGA_LITE)
    svg = TAG.sub(_shorter, vl_convert.vega_to_svg(vega))
    head = svg[: svg.index(">")]
    return Drawing(svg, vega, _attribute(head, "width"), _attribute(head, "height"))


def _shorter(tag: re.Match[str]) -> str:
    return LONG_FRACTION.sub(r"\1", MARK_ROLE.sub("", tag[0]))


def _attribute(tag: str, name: str) -> int:
    return round(float(tag.partition(f' {name}="')[2].partition('"')[0]))
