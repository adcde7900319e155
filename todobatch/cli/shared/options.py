"""Options that several commands have, and functions that parse the values of options."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from todobatch.cli.shared.log import When
from todobatch.errors import UsageError


def _group(heading: str) -> Callable[[str, str], Any]:
    """Return a function that makes the options of a group, by its heading in ``--help``."""

    def option(usage: str, text: str) -> Any:
        """Make an option from its names and metavar, such as ``-o --output FILE``, and its help.

        Without a name it has that of the function's parameter.
        """
        words = usage.split()
        flags = [word for word in words if word.startswith("-")]
        metavar = " ".join(words[len(flags) :]) or None
        return typer.Option(*flags, metavar=metavar, help=text, rich_help_panel=heading)

    return option


WHAT, DATA, HOW_LONG = _group("What to run"), _group("Data"), _group("How long")
RECOVERY, OUTPUT, OTHER = _group("Faults and recovery"), _group("Output"), _group("Options")
LOG = _group("Progress and logs")

Json = Annotated[bool, OUTPUT("--json", "Print one JSON document.")]
Progress = Annotated[
    When,
    LOG(
        "",
        "Whether to show progress: a live line on a terminal, a line every 10 to 60 s elsewhere. "
        "auto: unless --quiet is given.",
    ),
]
Quiet = Annotated[bool, LOG("--quiet -q", "Show results, warnings and errors only.")]
LogJson = Annotated[
    bool, LOG("--log-json", "Write progress, warnings and errors as one JSON object a line.")
]
InputFile = Annotated[
    Path | None, DATA("--input FILE", "Your own tasks. Default: generated tasks.")
]
InputFormat = Annotated[
    str | None, DATA("NAME", "Format of the input. Default: by the file's name.")
]
Seed = Annotated[
    int | None, DATA("N", "Fix generated tasks and the order of samples. Default: a random number.")
]
FailOnSlower = Annotated[
    str | None,
    OUTPUT("LIMIT", "Exit with code 3 if B is significantly slower than this allows, such as 3%."),
]


def names(text: str | None, option: str) -> tuple[str, ...] | None:
    """Split names at commas; None stays None. Raises UsageError when there is no name."""
    if text is None:
        return None
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise UsageError(
            "no name was given", place=option, remedy="give one or more names, separated by commas"
        )
    return found


def whole_numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read whole numbers with commas between them; None stays None. Raises UsageError."""
    found = names(text, option)
    try:
        # As bytes, because in a text `int` takes other digits than 0 to 9, too.
        return None if found is None else tuple(int(each.encode()) for each in found)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a list of whole numbers",
            place=option,
            remedy="give some, such as 1,2,4",
        ) from error


def share_of(text: str, option: str, *, below_one: bool = False) -> float:
    """Read ``'3%'``, ``'3 %'`` or ``'0.03'`` as a fraction of one, with `below_one` below 100 %.

    Raises UsageError.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text, re.ASCII)
    limit = float(found[1]) / (100 if found[2] else 1) if found else math.inf
    if not found or math.isinf(limit) or (not found[2] and limit >= 1):
        raise UsageError(
            f"{text!r} is not a percentage",
            place=option,
            remedy="give 0 or more, such as 3% or 0.03",
        )
    if below_one and limit >= 1:
        raise UsageError(
            f"{text!r} is 100% or more", place=option, remedy="write less than 100%, such as 3%"
        )
    return limit


def check_format(file: Path | None, format_name: str | None, option: str) -> None:
    """Raise UsageError for a format without a file."""
    if file is None and format_name is not None:
        raise UsageError(
            "generated tasks have no format", place=option, remedy="leave it out, or name a file"
        )
