"""Everything that commands print goes through here: messages, progress, lines and tables.

Results go to standard output, all else to standard error. A name may come from anybody, so markup
and emoji codes in it have no effect, and `show_text` escapes what a terminal would obey.
"""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from todobatch.cli.views import tables
from todobatch.units import Seconds, show_percent, show_text

LOG_EVERY_S: Seconds = 15.0
"""In a log, a step that takes longer than this gets a line of its progress this often."""
REDRAWS_A_SECOND = 2  # more would be a load of our own beside what is measured


def output(*, stderr: bool = False) -> Console:
    """Return a console for standard output or standard error.

    It is as wide as the terminal. What is no terminal gets tables and lines whole.
    """
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = tables.WHOLE
    return console


def line(console: Console, text: str = "", style: str | None = None, *, keep: str = "") -> None:
    """Print a line, wrapped at words on a terminal and left whole in a pipe.

    The control characters in `keep` are printed as they are.
    """
    shown = Text(show_text(text, keep=keep), style=style or "")
    console.print(shown, soft_wrap=not console.is_terminal)


def table(
    headings: Sequence[str],
    *,
    left: int = 1,
    title: str | None = None,
    gap: int = 2,
    drop: Sequence[str] = (),
    long: str | None = None,
) -> tables.Table:
    """Return an empty table that fits into the terminal; for the arguments see `tables.Table`."""
    return tables.Table(headings, left, title, gap, drop, long)


class Display:
    """Shows messages and steps on standard error: a bar on a terminal, timed lines in a log.

    It is a `todobatch.lab.progress.Progress`. Use it as a context manager, which removes the bar.
    With `quiet` it shows messages only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = output(stderr=True)
        self._quiet = quiet
        self._bar: Bar | None = None
        if self._console.is_terminal and not quiet:
            self._bar = Bar(
                SpinnerColumn(), TextColumn("{task.description}", markup=False), _Share(),
                TextColumn("{task.fields[detail]}", markup=False),
                console=self._console, transient=True, refresh_per_second=REDRAWS_A_SECOND,
            )  # fmt: skip
        self._text = ""
        self._shown_at: Seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar. A step after this brings it back."""
        self._text = ""
        if self._bar is not None:
            self._bar.stop()
            for task in self._bar.task_ids:
                self._bar.remove_task(task)

    def message(self, text: str) -> None:
        """Show a line that stays."""
        if self._console.is_terminal:
            line(self._console, text, keep="\n")
        else:
            line(self._console, f"{time.strftime('%H:%M:%S')} {text}", keep="\n")

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        """Show what is being done now, and how much of it is done."""
        share = min(done / total, 0.99) if total else None  # totals may be estimates
        if self._bar is not None:
            self._draw(self._bar, text, share, detail)
        elif not self._quiet:
            self._log(text, share, detail)
        self._text = text

    def _draw(self, bar: Bar, text: str, share: float | None, detail: str) -> None:
        if not bar.task_ids:
            bar.add_task("", total=None, share=None, detail="")
            bar.start()
        bar.update(
            bar.task_ids[0],
            description=show_text(text, keep=""),
            share=share,
            detail=show_text(detail, keep=""),
        )

    def _log(self, text: str, share: float | None, detail: str) -> None:
        now = time.monotonic()
        if text != self._text:
            self.message(text)
        elif now - self._shown_at > LOG_EVERY_S:
            percent = "" if share is None else show_percent(share)
            self.message(f"{text}: {', '.join(filter(None, (percent, detail)))}")
        else:
            return
        self._shown_at = now


class _Share(ProgressColumn):
    """Shows a bar and a percentage, if the total is known."""

    def render(self, task: Task) -> Table | Text:
        """Draw the bar and the percentage, or nothing if the total is unknown."""
        share = task.fields["share"]
        if share is None:
            return Text("")
        both = Table.grid(padding=(0, 1))
        both.add_row(ProgressBar(total=1, completed=share, width=20), show_percent(share))
        return both
