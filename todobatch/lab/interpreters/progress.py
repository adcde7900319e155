"""How an installation is told to people: a bar on a terminal, plain lines anywhere else."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self


class Progress(Protocol):
    """What an installation reports while it goes on."""

    def note(self, text: str) -> None:
        """One line that stays."""

    def stage(self, text: str, total: float | None = None) -> None:
        """A stage begins; `total` is in the unit that `advance` counts, None when unknown."""

    def advance(self, amount: float) -> None:
        """The stage has come further."""


class Silent:
    """Tells nothing."""

    def note(self, text: str) -> None:
        """Drop it."""

    def stage(self, text: str, total: float | None = None) -> None:
        """Drop it."""

    def advance(self, amount: float) -> None:
        """Drop it."""


class Lines:
    """One line a stage, and one for each quarter of it that took a while: for logs and CI."""

    AT_LEAST_S = 15.0

    def __init__(self) -> None:
        self._text, self._total = "", 0.0
        self._done, self._told_at = 0.0, 0.0

    def note(self, text: str) -> None:
        """Print it."""
        print(text, file=sys.stderr, flush=True)

    def stage(self, text: str, total: float | None = None) -> None:
        """Print it."""
        self._text, self._total, self._done = text, total or 0.0, 0.0
        self._told_at = time.monotonic()
        self.note(f"  {text} …")

    def advance(self, amount: float) -> None:
        """Print how far it is, now and then."""
        self._done += amount
        if self._total and time.monotonic() - self._told_at > self.AT_LEAST_S:
            self._told_at = time.monotonic()
            self.note(f"  {self._text}: {min(self._done / self._total, 0.99) * 100:.0f} %")


class Bar:
    """A rich progress bar: one line for the stage that runs, notes above it."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        # Notes are for reading and copying: no colours of rich's own in them.
        self._console = Console(stderr=True, highlight=False)
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._task: progress.TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def note(self, text: str) -> None:
        """Print it above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def stage(self, text: str, total: float | None = None) -> None:
        """Begin the bar anew."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(text, total=total)

    def advance(self, amount: float) -> None:
        """Move the bar. Totals are estimates, so it waits just before its end."""
        if self._task is None:
            return
        task = next(task for task in self._bar.tasks if task.id == self._task)
        if task.total is not None:
            amount = min(amount, max(task.total * 0.99 - task.completed, 0.0))
        self._bar.advance(self._task, amount)


@contextmanager
def for_this_terminal() -> Iterator[Progress]:
    """A bar where standard error is a terminal, else plain lines."""
    if sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()
