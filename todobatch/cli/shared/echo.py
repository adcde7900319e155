"""Prints lines of text for commands."""

import typer

from todobatch.units import show_text


def echo(text: str = "", *, err: bool = False) -> None:
    """Print text to standard output, or to standard error, as `show_text` shows it."""
    typer.echo(show_text(text), err=err)
