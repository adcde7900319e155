"""What a command writes to standard error: text for people or, with ``--log-json``, JSON lines.

`start` makes the log of the command that runs. `todobatch.cli.main` writes the last lines to it: an
error, and how the command ended.
"""

import datetime as dt
import json
import sys
import threading
from contextlib import suppress
from time import perf_counter
from typing import Any, Literal, TypeAlias

import todobatch
from todobatch.units import show_text

LONGEST_MESSAGE = 5_000
"""A text is cut after this many characters, because a damaged file may be quoted in it."""

When: TypeAlias = Literal["auto", "always", "never"]


class Log:
    """The log of one command. Any thread may write to it; `_lock` keeps lines whole."""

    def __init__(
        self,
        command: str = "",
        *,
        progress: When = "auto",
        quiet: bool = False,
        as_json: bool = False,
    ) -> None:
        self.command = command
        """Empty before a command has begun."""
        self.quiet = quiet
        """Whether only results, warnings and errors are shown."""
        self.as_json = as_json
        self.shows_progress = progress == "always" or (progress == "auto" and not quiet)
        self.counts: dict[str, int | None] | None = None
        """The counts of the last line, by name: None for a count that is not known. None as a whole
        for a command that runs no job."""
        self._begun = perf_counter()
        self._lock = threading.Lock()

    def event(self, name: str, **facts: Any) -> None:
        """Write one JSON object on a line. Texts are cut after `LONGEST_MESSAGE` characters."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        shown = {key: _cut(value) for key, value in facts.items()}
        self._write(json.dumps({"time": now, "event": name, **shown}))

    def complain(
        self, cause: str, *, place: str = "", remedy: str = "", text: str = "", **facts: str
    ) -> None:
        """Write the error that ends the command; `text` is its form for people.

        A JSON log gets further `facts` too.
        """
        if self.as_json:
            self.event("error", cause=cause, place=place, remedy=remedy, **facts)
        else:
            self._write(show_text(f"todobatch: {_cut(text or cause)}"))

    def finish(self, code: int) -> None:
        """Write how the command ended: in JSON, or for a job whose log is not a terminal."""
        if not self.command:
            return
        end = {
            **(self.counts or {}),
            "seconds": round(perf_counter() - self._begun, 2),
            "exit": code,
        }
        if self.as_json:
            self.event("finished", command=self.command, **end)
        elif self.counts is not None and not sys.stderr.isatty():
            words = (f"{key}={'unknown' if value is None else value}" for key, value in end.items())
            self._write(f"finished: {' '.join(words)}")

    def _write(self, line: str) -> None:
        with self._lock, suppress(OSError):  # nobody reads it any more
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_MESSAGE:
        return f"{value[:LONGEST_MESSAGE]}… (cut from {len(value):,} characters)"
    return value


_current = Log()


def current() -> Log:
    """Return the log of the command that runs."""
    return _current


def start(command: str, progress: When, quiet: bool, as_json: bool) -> Log:
    """Begin the log of a command, and return it."""
    global _current  # noqa: PLW0603 - a process runs one command, in its main thread
    _current = Log(command, progress=progress, quiet=quiet, as_json=as_json)
    if as_json and not quiet:
        _current.event("started", command=command, version=todobatch.__version__)
    return _current
