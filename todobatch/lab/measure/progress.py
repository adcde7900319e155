"""What is said while a run is under way: a bar on a terminal, lines elsewhere."""

import math
import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from todobatch.lab.measure.schedule import ATTEMPTS, Progress
from todobatch.lab.store.schema import Sample
from todobatch.units import Seconds, show_seconds


class View(Protocol):
    """Shows a run's progress. `say` may come at any time, the others in turn."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def before(self, progress: Progress) -> None:
        """A sample is about to be taken."""

    def after(self, sample: Sample) -> None:
        """It was taken."""

    def close(self) -> None:
        """Nothing more will come."""


class Lines:
    """For pipes and logs: a line when a block begins and one for each void."""

    def __init__(self) -> None:
        self._block = -1

    def say(self, text: str) -> None:
        """See `View`."""
        print(text, flush=True)

    def before(self, progress: Progress) -> None:
        """See `View`."""
        if progress.slot.block != self._block:
            self._block = progress.slot.block
            self.say(f"block {self._block + 1} of at most {progress.blocks}{_left(progress)}")

    def after(self, sample: Sample) -> None:
        """See `View`."""
        if sample.void is not None:
            self.say(_void_line(sample))

    def close(self) -> None:
        """See `View`."""


class Terminal:
    """For people: a bar with block, cell and the time that is left."""

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("[bold]{task.fields[block]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cell]}{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, block="", cell="", left="")
        self._bar.start()

    def say(self, text: str) -> None:
        """See `View`."""
        self._bar.console.print(text, markup=False, highlight=False)

    def before(self, progress: Progress) -> None:
        """See `View`."""
        slot = progress.slot
        self._bar.update(
            self._task,
            total=progress.cells,
            completed=progress.index,
            block=f"block {slot.block + 1}/{progress.blocks}",
            cell=slot.cell.key,
            left=_left(progress),
        )

    def after(self, sample: Sample) -> None:
        """See `View`."""
        if sample.void is not None:
            self.say(_void_line(sample))

    def close(self) -> None:
        """See `View`."""
        self._bar.stop()


def for_output() -> View:
    """The view that fits where standard output goes."""
    return Terminal(Console(emoji=False)) if sys.stdout.isatty() else Lines()


def _left(progress: Progress) -> str:
    return "" if math.isnan(progress.left_s) else f", about {_duration(progress.left_s)} left"


def _duration(seconds: Seconds) -> str:
    if seconds < 100:
        return show_seconds(seconds) if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _void_line(sample: Sample) -> str:
    return f"void: {sample.cell.key}: {sample.void} (taken again, at most {ATTEMPTS} times in all)"
