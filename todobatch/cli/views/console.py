"""Everything that commands print goes through here: messages, progress, lines and tables.

Results go to standard output, all else to standard error. A name may come from anybody, so markup
and emoji codes in it have no effect, and `show_text` escapes what a terminal would obey.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import IO, Any, Self, cast

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from todobatch.cli.shared.log import Log
from todobatch.cli.views import tables
from todobatch.units import Seconds, show_percent, show_text

FIRST_LINE_S: Seconds = 10.0
"""In a log, a step that takes longer than this gets a line of its progress."""
PAUSE_GROWTH = 1.5
"""Each further line comes after a pause this many times longer than the one before."""
LONGEST_PAUSE_S: Seconds = 60.0
"""The pauses between lines grow up to this many seconds."""
REDRAWS_A_SECOND = 2  # more would be a load of our own beside what is measured


def output(*, stderr: bool = False) -> Console:
    """Return a console for standard output or standard error.

    It is as wide as the terminal. If it is not a terminal, tables and lines stay whole.
    """
    file = cast("IO[str]", _Unread(sys.stderr)) if stderr else None
    console = _Console(file=file, markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = tables.WHOLE
    elif console.width < 1:  # COLUMNS=0
        console.width = 80
    return console


class _Console(Console):
    """A console whose reader may leave: the command goes on, and its exit code stays."""

    def on_broken_pipe(self) -> None:
        """Drop all further output."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Unread:
    """Standard error that drops what its reader, or a full disk, does not take."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


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


@dataclass(frozen=True, slots=True)
class _Step:
    """What is being done now."""

    text: str
    begun: Seconds
    """By `time.monotonic`."""
    done: float
    total: float | None
    detail: str = ""
    failed: int | None = None
    """How many of the tasks that are done have failed; None if the step does not count tasks."""
    before: int = 0
    """How many of these tasks earlier runs have done."""

    def facts(self) -> dict[str, Any]:
        """Return the step for a JSON log. The rate is that since the step began."""
        elapsed = time.monotonic() - self.begun
        facts = {
            "step": self.text, "done": self.done, "total": self.total,
            "elapsed_s": round(elapsed, 2),
        }  # fmt: skip
        if self.failed is None:
            return facts | {"detail": self.detail}
        rate = (self.done - self.before) / elapsed if elapsed else 0.0
        left = None
        if self.total is not None and rate:
            left = round(max(self.total - self.done, 0) / rate, 2)
        return facts | {"failed": self.failed, "tasks_per_s": round(rate, 2), "left_s": left}

    def describe(self) -> str:
        """Return how much of it is done, in words."""
        if self.failed is None:
            share = "" if self.share is None else show_percent(self.share)
            return ", ".join(filter(None, (share, self.detail)))
        facts = self.facts()
        rate, left = facts["tasks_per_s"], facts["left_s"]
        of = "" if self.total is None else f" of {self.total:,.0f}"
        shown = f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}"
        text = f"{self.done:,.0f}{of} tasks, {self.failed:,} failed, {shown} tasks/s"
        return text if left is None else f"{text}, about {_rounded(left)} left"

    @property
    def share(self) -> float | None:
        """Return how much is done, below 1 because totals may be estimates; None if unknown."""
        return min(self.done / self.total, 0.99) if self.total else None


def _rounded(seconds: Seconds) -> str:
    for unit, name in ((1, "s"), (60, "min")):
        if seconds < 100 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.0f} h"


class Display:
    """Shows messages and steps on standard error, as the options of `log` say.

    On a terminal a step is a bar. Elsewhere it is a line now and then, at first after
    `FIRST_LINE_S`; a thread writes it, so that it comes even if nothing is reported. With a JSON
    log, these are events.

    It is a `todobatch.lab.progress.Progress`. Use it as a context manager, which ends the progress.
    One thread uses it. `_changed` guards `_step`, `_due` and `_pause`, which the thread reads.
    """

    def __init__(self, log: Log | None = None) -> None:
        self._console = output(stderr=True)
        self._log = log = log or Log()
        self._bar: Bar | None = None
        if self._console.is_terminal and log.shows_progress and not log.as_json:
            self._bar = Bar(
                SpinnerColumn(), TextColumn("{task.description}", markup=False), _Share(),
                TextColumn("{task.fields[detail]}", markup=False),
                console=self._console, transient=True, refresh_per_second=REDRAWS_A_SECOND,
            )  # fmt: skip
        self._step: _Step | None = None
        self._changed = threading.Condition()
        self._pause = self._due = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the progress. A step after this brings it back."""
        with self._changed:
            self._step = None
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._bar is not None:
            self._bar.stop()
            for task in self._bar.task_ids:
                self._bar.remove_task(task)

    def message(self, text: str) -> None:
        """Show a line that stays, unless the user wants none."""
        if not self._log.quiet:
            self._show("message", text)

    def warn(self, text: str) -> None:
        """Show a line that stays, even if the user wants no messages."""
        self._show("warning", text)

    def fail(self, text: str, **facts: Any) -> None:
        """Show that tasks have failed. A JSON log gets the facts only."""
        if self._log.as_json:
            self._log.event("failed", **facts)
        else:
            self._show("failed", text)

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        """Show what is being done now, and how much of it is done."""
        step = _Step(text, time.monotonic(), done, total, detail)
        if self._begin(step):
            self._line(step, first=True)

    def count(self, text: str, tasks: int, failed: int, total: int | None, before: int = 0) -> None:
        """Show how many tasks of a job are done. `text` names the step, without a line of its own.

        `before` of these tasks were done by earlier runs. The rate is that since the first call
        with this text.
        """
        self._begin(_Step(text, time.monotonic(), tasks, total, failed=failed, before=before))

    def _begin(self, step: _Step) -> bool:
        """Set the step; return whether it is new and lines are shown."""
        if not self._log.shows_progress:
            return False
        with self._changed:
            old = self._step
            new = old is None or old.text != step.text
            if old is not None and not new:
                step = replace(step, begun=old.begun)
            self._step = step
            if new:
                self._pause = FIRST_LINE_S
                self._due = step.begun + self._pause
                self._changed.notify()
        if self._bar is not None:
            self._draw(self._bar, step)
        elif self._thread is None:
            self._thread = threading.Thread(
                target=self._write_lines, name="todobatch-progress", daemon=True
            )
            self._thread.start()
        return new and self._bar is None

    def _draw(self, bar: Bar, step: _Step) -> None:
        if not bar.task_ids:
            bar.add_task("", total=None, share=None, detail="")
            bar.start()
        detail = step.detail if step.failed is None else step.describe()
        bar.update(
            bar.task_ids[0],
            description=show_text(step.text, keep=""),
            share=step.share,
            detail=show_text(detail, keep=""),
        )

    def _write_lines(self) -> None:
        """Write lines when they are due, until the display is closed."""
        with self._changed:
            while self._step is not None:
                rest = self._due - time.monotonic()
                if rest > 0:
                    self._changed.wait(rest)
                    continue
                self._line(self._step)
                self._pause = min(self._pause * PAUSE_GROWTH, LONGEST_PAUSE_S)
                self._due = time.monotonic() + self._pause

    def _line(self, step: _Step, *, first: bool = False) -> None:
        """Write a line about a step; the first one only names it."""
        if self._log.as_json:
            self._log.event("progress", **step.facts())
        else:
            parts = (step.text, "" if first else step.describe())
            self._show("progress", ": ".join(filter(None, parts)))

    def _show(self, event: str, text: str) -> None:
        if self._log.as_json:
            self._log.event(event, text=text)
        elif self._console.is_terminal:
            line(self._console, text, keep="\n")
        else:
            line(self._console, f"{time.strftime('%H:%M:%S')} {text}", keep="\n")


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
