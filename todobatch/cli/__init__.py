"""The command line. Each command is one file; heavy imports wait until a command needs them."""

import errno
import os
import signal
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path

from todobatch.cli.shared import log
from todobatch.cli.shared.streams import checked_output
from todobatch.errors import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_STORE,
    ExtraMissingError,
    TodobatchError,
    UsageError,
)
from todobatch.units import show_text


def main() -> None:
    """Run the command line, and exit with the code of the error that it raised, if any."""
    _prepare_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is done is kept
    code = _run()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # all is done, and the exit code is known
    if isinstance(code, int):
        log.current().finish(code)
    sys.exit(code)


def _run() -> str | int:
    """Run the command line, report the error that it raised, if any, and return the exit code."""
    try:
        with checked_output():
            app = _load()
            app()
    except SystemExit as leaving:  # how Typer ends, whatever the outcome
        return _flushed(leaving.code or 0)
    except (TodobatchError, OSError) as raised:
        return _reported(raised)
    except KeyboardInterrupt:
        log.current().complain("interrupted")
        return EXIT_INTERRUPTED
    except Exception:
        trace = traceback.format_exc()
        if not log.current().as_json:
            print(show_text(trace), file=sys.stderr, end="")
        bug = "this is a bug: please report it with the trace"
        log.current().complain(bug, trace=trace, text=f"{bug} above")
        return EXIT_BUG
    return _flushed(0)


def _reported(raised: TodobatchError | OSError) -> int:
    """Report an error and return its exit code."""
    error = _in_removed_folder(raised) or raised
    if isinstance(error, TodobatchError):
        log.current().complain(
            error.cause, place=error.place, remedy=error.remedy, text=f"error: {error}"
        )
        return error.exit_code
    log.current().complain(str(error), text=f"error: {error}")
    return EXIT_STORE


def _in_removed_folder(error: TodobatchError | OSError) -> UsageError | None:
    """Return the error that explains `error`, if it comes from a current folder that is gone.

    Commands that need no current folder work there. So this is known only from their errors.
    """
    if os.strerror(errno.ENOENT) not in str(error):
        return None
    try:
        Path.cwd()
    except FileNotFoundError:
        return UsageError(
            "the current folder does not exist any more", remedy="change to a folder that exists"
        )
    return None


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


def _flushed(code: str | int) -> str | int:
    """Flush standard output. Return the exit code, or that of a failed write."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # not again at exit
        if not isinstance(error, BrokenPipeError):  # that reader has what it wanted
            cause = f"{error.strerror}"
            log.current().complain(
                cause, place="standard output", text=f"error: standard output: {cause}"
            )
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
