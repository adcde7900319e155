"""Prints lines of text for commands."""

from contextlib import nullcontext, suppress

import typer

from todobatch.cli.shared import log
from todobatch.units import show_text


def echo(text: str = "", *, err: bool = False) -> None:
    """Print text to standard output, or to standard error, as `show_text` shows it.

    With ``--log-json`` a text for standard error becomes a warning of the log.
    """
    if err and log.current().as_json:
        log.current().event("warning", text=text)
    else:
        with suppress(OSError) if err else nullcontext():  # a log that is full ends no command
            typer.echo(show_text(text), err=err)
