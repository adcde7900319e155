"""What commands print outside of tables and progress: lines of text, and JSON."""

import json
from typing import Any

import typer

from todobatch.units import show_text


def echo(text: str = "", *, err: bool = False) -> None:
    """Print text to standard output, or to standard error, as `show_text` shows it."""
    typer.echo(show_text(text), err=err)


def json_text(document: Any) -> str:
    """Return one line of JSON that people can read too: only letters that are seen stay as is."""
    text = json.dumps(document, ensure_ascii=False)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
