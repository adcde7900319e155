"""What every command shows while it works: a bar on a terminal, lines in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from todobatch.lab.progress import Progress
from todobatch.units import Seconds

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_PER_SECOND = 2
"""How often a terminal is redrawn. It is seldom, because drawing loads a machine being measured."""
LOG_EVERY_S: Seconds = 15.0
"""A log gets another line about a step whose total is known after this time."""


@contextmanager
def progress_on(console: "Console") -> Iterator[Progress]:
    """Show progress on a console until the block ends."""
    if not console.is_terminal:
        yield _Log(console)
        return
    terminal = _Terminal(console)
    try:
        yield terminal
    finally:
        terminal.stop()


def console_for(*, stderr: bool) -> "Console":
    """Return a console that prints text as it is, with no markup, colours or emoji of its own."""
    from rich.console import Console

    return Console(stderr=stderr, emoji=False, markup=False, highlight=False, soft_wrap=True)


class _Log:
    def __init__(self, console: "Console") -> None:
        self._console = console
        self._shown: dict[str, Seconds] = {}
        """When each step was last printed."""

    def message(self, text: str) -> None:
        self._console.print(text)

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        now = time.monotonic()
        if text not in self._shown:
            self.message(f"{text}  {detail}" if detail else text)
        elif total and now - self._shown[text] > LOG_EVERY_S:
            self.message(f"{text}: {min(done / total, 1.0):.0%}")
        else:
            return
        self._shown[text] = now


class _Terminal:
    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
            refresh_per_second=REFRESH_PER_SECOND,
        )
        self._task = self._bar.add_task("", total=None, detail="")
        self._bar.start()

    def message(self, text: str) -> None:
        self._bar.console.print(text)

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        if text != self._bar.tasks[0].description:
            self._bar.reset(self._task, total=total, description=text, detail=detail)
        self._bar.update(self._task, completed=done, total=total, detail=detail)

    def stop(self) -> None:
        self._bar.stop()
