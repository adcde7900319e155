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
    from todobatch.lab.doctor.diagnosis import Tell

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
    from todobatch.lab.doctor import diagnosis

    with _telling() as tell:
        found = diagnosis.diagnose(tell, seconds=seconds, measure=not no_measure)
    if json_:
        typer.echo(found.as_json())
    else:
        columns = shutil.get_terminal_size((80, 24)).columns
        for line in diagnosis.page(found, min(max(columns, NARROWEST), WIDEST)):
            typer.echo(_coloured(line))
    if found.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if strict and found.has_warning:
        raise typer.Exit(EXIT_GATE)


@contextmanager
def _telling() -> "Iterator[Tell]":
    """Progress on standard error: one line that changes on a terminal, one a phase elsewhere."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False, markup=False, highlight=False)
    if not console.is_terminal:
        told: list[str] = []

        def line(what: str, how_far: str) -> None:
            del how_far
            if what not in told:
                told.append(what)
                print(what, file=sys.stderr, flush=True)

        yield line
        return
    # Seldom redrawn: the spinner would be load of our own while noise is measured.
    with console.status("", refresh_per_second=2) as status:
        yield lambda what, how_far: status.update(f"{what}  {how_far}")


def _coloured(line: str) -> str:
    word = line.partition(" ")[0]
    if word not in COLOURS:
        return line
    return typer.style(word, fg=COLOURS[word], bold=True) + line.removeprefix(word)
