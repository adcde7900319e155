"""`todobatch doctor`: is this machine fit to measure on, and how small a difference can it show?"""

import math
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from todobatch.errors import EXIT_GATE, EXIT_INTERRUPTED, UsageError

if TYPE_CHECKING:
    from rich.status import Status

NARROWEST, WIDEST = 60, 100
COLOURS = {"warning": "yellow", "note": "cyan", "ok": "green"}


def doctor(
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the A/A run goes on.")
    ] = 30.0,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Look only: no A/A run, no busy threads.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 when there is a warning.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what about this machine stands in the way of sure figures, and how noisy it is.

    Settings of kernel and CPUs are read, the CPUs that two busy threads get are measured, and the
    same thing is measured twice, again and again (an A/A run), to learn how small a difference can
    be found here in a given time.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            f"{seconds:g} seconds make no sense here",
            place="--seconds",
            remedy="a number above 0, or --no-measure",
        )
    from todobatch.cli.views.doctor import as_lines
    from todobatch.lab.doctor.diagnosis import diagnose

    with _steps() as steps:
        found = diagnose(steps, seconds=seconds, measure=not no_measure)
    if json_:
        typer.echo(found.as_json())
    else:
        columns = shutil.get_terminal_size((80, 24)).columns
        for line in as_lines(found, min(max(columns, NARROWEST), WIDEST)):
            typer.echo(_coloured(line))
    if found.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if strict and found.has_warning:
        raise typer.Exit(EXIT_GATE)


class _Steps:
    """A `Progress` on standard error: one line that changes on a terminal, one a step elsewhere."""

    def __init__(self, status: "Status | None") -> None:
        self._status = status
        self._text = ""

    def message(self, text: str) -> None:
        """Show a line that stays."""
        print(text, file=sys.stderr, flush=True)

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        """Show what is being done now."""
        del done, total
        if self._status is not None:
            self._status.update(f"{text}  {detail}")
        elif text != self._text:
            self.message(text)
        self._text = text


@contextmanager
def _steps() -> "Iterator[_Steps]":
    from rich.console import Console

    console = Console(stderr=True, emoji=False, markup=False, highlight=False)
    if not console.is_terminal:
        yield _Steps(None)
        return
    # Seldom redrawn: the spinner would be load of our own while noise is measured.
    with console.status("", refresh_per_second=2) as status:
        yield _Steps(status)


def _coloured(line: str) -> str:
    word = line.partition(" ")[0]
    if word not in COLOURS:
        return line
    return typer.style(word, fg=COLOURS[word], bold=True) + line.removeprefix(word)
