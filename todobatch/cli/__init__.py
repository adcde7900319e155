"""The command line. Each command is one file; heavy imports wait until a command needs them."""

import os
import sys
import traceback
from io import TextIOWrapper

from todobatch.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_STORE,
    ExtraMissingError,
    TodobatchError,
)
from todobatch.units import show_text

LONGEST_MESSAGE = 5_000
"""An error is cut after this many characters, because a damaged file may be quoted in it."""


def main() -> None:
    """Run the command line, and exit with the code of the error that it raised, if any."""
    _prepare_streams()
    try:
        app = _load()
        app()
    except SystemExit as leaving:  # how Typer ends, whatever the outcome
        sys.exit(_flushed(leaving.code))
    except TodobatchError as error:
        _complain(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        _complain(f"error: {error}")
        sys.exit(EXIT_STORE)
    except Exception:
        print(show_text(traceback.format_exc()), file=sys.stderr, end="")
        _complain("this is a bug: please report it with the trace above")
        sys.exit(EXIT_BUG)


def _complain(text: str) -> None:
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]}… (cut from {len(text):,} characters)"
    print(show_text(f"todobatch: {text}"), file=sys.stderr)


def _prepare_streams() -> None:
    """Make standard streams that exist and take any text.

    /dev/null replaces a closed one, so that no other file gets its number. What its encoding lacks
    is written as backslash escapes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, TextIOWrapper):
            output.reconfigure(errors="backslashreplace")


def _flushed(code: str | int | None) -> str | int | None:
    """Flush standard output. Return the exit code, or that of a failed write."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # not again at exit
        if not isinstance(error, BrokenPipeError):  # that reader has what it wanted
            _complain(f"error: standard output: {error.strerror}")
            return EXIT_STORE
    return code


def _load() -> "typer.Typer":  # type: ignore[name-defined]  # noqa: F821
    try:
        from todobatch.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("todobatch"):
            raise
        raise ExtraMissingError(
            f"the command line needs {error.name}, which is not installed",
            remedy="install its extras; in a checkout: pip install '.[lab,reports]' ./reports",
        ) from error
    return app
