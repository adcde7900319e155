"""Tables that fit into the terminal: columns are left out before anything breaks.

A table that is too wide first cuts the cells of its long column, then leaves out columns, the least
important first, and says which. Finally it cuts the widest columns. A cell stays on one line.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from todobatch.units import show_text

WHOLE = 1_000_000
"""The width of what is no terminal: nothing is left out or wrapped."""
SHORTEST_CUT = 30
"""The cells of the long column are cut to this many columns before other columns are left out."""
LEAST_TEXT = 4
"""No column is cut to fewer characters than this."""


def width_of_output() -> int:
    """Return the columns of the terminal that standard output is; `WHOLE` if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else WHOLE


def wrapped(lines: Iterable[str], width: int) -> list[str]:
    """Break long lines at words. What does not fit into a line by itself is broken too."""
    if width >= WHOLE:
        return list(lines)
    found: list[str] = []
    for line in lines:
        indent = line[: len(line) - len(line.lstrip())]
        found += textwrap.wrap(
            line, width, subsequent_indent=indent, break_on_hyphens=False
        ) or [""]  # fmt: skip
    return found


@dataclass(slots=True)
class Table:
    """A table of texts. Print it on a Rich console, or ask for its `lines`."""

    headings: Sequence[str]
    left: int = 1
    """The first columns are text, the others are numbers, which stand at the right."""
    title: str | None = None
    gap: int = 2
    """The number of spaces between two columns."""
    drop: Sequence[str] = ()
    """The headings that may be left out, the least important first."""
    long: str | None = None
    """The heading of a column whose cells are cut before other columns are left out."""
    _rows: list[tuple[list[str], str]] = field(default_factory=list, init=False)

    def add_row(self, *cells: object, style: str = "") -> None:
        """Add a row of texts, whose line has this style of Rich."""
        assert len(cells) == len(self.headings)
        self._rows.append(([show_text(str(cell), keep="") for cell in cells], style))

    def lines(self, width: int = WHOLE) -> list[str]:
        """Return the table as lines of at most `width` columns, without colours."""
        return [text.plain for text in self._texts(width)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._texts(options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def _texts(self, width: int) -> Iterator[Text]:
        shown, widths = self._fit(width)
        if self.title is not None:
            yield _text(_cut(show_text(self.title, keep=""), width), "bold")
        yield _text(self._line(self.headings, shown, widths), "bold")
        for cells, style in self._rows:
            yield _text(self._line(cells, shown, widths), style)
        absent = [heading for n, heading in enumerate(self.headings) if n not in shown]
        if absent:
            note = f"Columns left out: {', '.join(absent)}"
            yield from (_text(line, "dim") for line in wrapped([note], width))

    def _line(self, cells: Sequence[str], shown: list[int], widths: list[int]) -> str:
        fitted = (
            _padded(_cut(cells[n], wide), wide, right=n >= self.left)
            for n, wide in zip(shown, widths, strict=True)
        )
        return (" " * self.gap).join(fitted).rstrip()

    def _fit(self, width: int) -> tuple[list[int], list[int]]:
        """Return which columns are shown in `width` columns of a terminal, and how wide each is."""
        rows = [list(self.headings), *(cells for cells, _ in self._rows)]
        natural = [max(cell_len(row[n]) for row in rows) for n in range(len(self.headings))]
        shown = list(range(len(self.headings)))
        going = [self.headings.index(heading) for heading in self.drop if heading in self.headings]
        long = None if self.long is None else self.headings.index(self.long)
        while True:
            widths = [natural[n] for n in shown]
            over = sum(widths) + self.gap * (len(shown) - 1) - width
            if over > 0 and long in shown:
                at = shown.index(long)
                widths[at] = max(widths[at] - over, min(widths[at], SHORTEST_CUT))
                over = sum(widths) + self.gap * (len(shown) - 1) - width
            if over <= 0:
                return shown, widths
            if not going:
                return shown, _squeezed(widths, over)
            shown.remove(going.pop(0))


def _squeezed(widths: list[int], over: int) -> list[int]:
    """Return the widths, narrower by `over` characters in all, taken from the widest each time."""
    widths = list(widths)
    for _ in range(over):
        at = widths.index(max(widths))
        if widths[at] <= LEAST_TEXT:
            break
        widths[at] -= 1
    return widths


def _cut(text: str, width: int) -> str:
    """Cut the middle out of a text that is wider, because names differ at both ends."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) // 2
    tail = text[-end:] if end else ""
    while cell_len(tail) > end:
        tail = tail[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(tail))}…{tail}"


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def _text(line: str, style: str) -> Text:
    return Text(line, style=style, no_wrap=True, overflow="ignore")
