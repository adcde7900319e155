"""The command line. Each command is one file; heavy imports wait until a command needs them."""

import os
import sys

from todobatch.errors import EXIT_INTERRUPTED, ExtraMissingError, TodobatchError


def main() -> None:
    """Run the command line, and end with the exit code that its error stands for."""
    try:
        app = _load()
        app()
    except TodobatchError as error:
        print(f"todobatch: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("todobatch: interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`todobatch show | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _load() -> "typer.Typer":  # type: ignore[name-defined]  # noqa: F821
    try:
        from todobatch.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("todobatch"):
            raise
        raise ExtraMissingError(
            f"the command line needs {error.name}, which is not installed",
            remedy="pip install 'todobatch[lab]'",
        ) from error
    return app
