"""Options that several commands have, and functions that parse the values of options."""

import math
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from todobatch.errors import UsageError

WHAT, DATA, HOW_LONG, RECOVERY, OUTPUT = (
    "What to run", "Data", "How long", "Faults and recovery", "Output",
)  # fmt: skip
"""Headings of groups of options in ``--help``."""

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=OUTPUT)
]
InputFile = Annotated[
    Path | None,
    typer.Option(
        "--input", metavar="FILE", help="Your own tasks. Default: generated tasks.",
        show_default=False, rich_help_panel=DATA,
    ),
]  # fmt: skip
InputFormat = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Format of the input. Default: by the file's name.",
        show_default=False, rich_help_panel=DATA,
    ),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Fix generated tasks and the order of samples. Default: a random number.",
        show_default=False, rich_help_panel=DATA,
    ),
]  # fmt: skip
FailOnSlower = Annotated[
    str | None,
    typer.Option(
        metavar="LIMIT",
        help="Exit with code 3 if B is significantly slower than this allows, such as 3%.",
        show_default=False, rich_help_panel=OUTPUT,
    ),
]  # fmt: skip


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
        return None if found is None else tuple(int(each) for each in found)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a list of whole numbers",
            place=option,
            remedy="give some, such as 1,2,4",
        ) from error


def share_of(text: str, option: str) -> float:
    """Read ``'3%'``, ``'3 %'`` or ``'0.03'`` as a fraction of one. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text, re.ASCII)
    limit = math.nan
    if found:
        limit = float(found[1]) / 100 if found[2] else float(found[1])
    if not found or not math.isfinite(limit) or (not found[2] and limit >= 1):
        raise UsageError(
            f"{text!r} is not a percentage",
            place=option,
            remedy="give 0 or more, such as 3% or 0.03",
        )
    return limit


def import_from_current_folder() -> None:
    """Add the current folder to the import path, for a user's own workload."""
    if "" not in sys.path:
        sys.path.insert(0, "")
