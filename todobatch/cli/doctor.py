"""`todobatch doctor`: is this machine fit to measure on, and how small a difference can it show?"""

import math
import shutil
from typing import Annotated

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import OTHER, OUTPUT, Json
from todobatch.errors import EXIT_GATE, EXIT_INTERRUPTED, UsageError
from todobatch.units import show_text

WIDEST = 100
COLOURS = {"warning": "yellow", "note": "cyan", "ok": "green"}

SecondsOption = Annotated[float, OTHER("SECONDS", "How long to measure the noise of this machine.")]
NoMeasure = Annotated[bool, OTHER("--no-measure", "Read settings only: measure nothing.")]
Strict = Annotated[bool, OUTPUT("--strict", "Exit with code 3 if there is a warning.")]


def doctor(
    seconds: SecondsOption = 30.0,
    no_measure: NoMeasure = False,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Find what disturbs measurements on this machine, and how small a difference it can show.

    It reads settings of the kernel and the CPUs, and measures how many CPUs two busy threads get.
    Then it compares a load with itself (an A/A run), which shows the noise.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            f"{seconds:g} is not a duration",
            place="--seconds",
            remedy="give a number above 0, or --no-measure",
        )
    from todobatch.cli.views.console import Display
    from todobatch.cli.views.doctor import as_lines
    from todobatch.lab.doctor.diagnosis import diagnose

    with Display() as display:
        found = diagnose(display, seconds=seconds, measure=not no_measure)
    if as_json:
        echo(found.as_json())
    else:
        for line in as_lines(found, min(shutil.get_terminal_size().columns, WIDEST)):
            text = show_text(line, keep="")
            word = text.partition(" ")[0]
            shown = typer.style(word, fg=COLOURS.get(word), bold=word in COLOURS)
            typer.echo(shown + text.removeprefix(word))
    if found.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if strict and found.has_warning:
        raise typer.Exit(EXIT_GATE)
