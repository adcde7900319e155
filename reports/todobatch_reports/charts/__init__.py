"""The charts of the report, drawn as SVG when the site is built. Each family has a file.

Colours are CSS variables (``var(--tb-…)``), so the stylesheet sets them for light and dark. Each
chart is drawn wide and narrow, so that its text has the same size on a desktop and on a phone. The
stylesheet shows the one that fits.
"""

from todobatch_reports.charts.drawing import Chart, Drawing, make
from todobatch_reports.charts.memory import memory
from todobatch_reports.charts.scaling import scaling
from todobatch_reports.charts.speedups import speedups
from todobatch_reports.charts.style import colour_of
from todobatch_reports.charts.timeline import MOST_BARS, joined, timeline

__all__ = [
    "MOST_BARS",
    "Chart",
    "Drawing",
    "colour_of",
    "joined",
    "make",
    "memory",
    "scaling",
    "speedups",
    "timeline",
]
