"""The input formats, and `open_source`, which opens a file by its format."""

import datetime as dt
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from todobatch import runtime
from todobatch.errors import InputError, UnknownFormatError, did_you_mean
from todobatch.files import open_high
from todobatch.model import Task
from todobatch.sources import csv_file, jsonl, taskwarrior, todotxt
from todobatch.sources.base import Input, OnBroken, Reader, Reading


@dataclass(frozen=True, slots=True)
class Format:
    """An input format: its name and title, its file endings and its reader."""

    name: str
    title: str
    endings: tuple[str, ...]
    read: Reader


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        fmt.name: fmt
        for fmt in (
            Format("todotxt", "todo.txt", (".txt",), todotxt.read),
            Format("taskwarrior", "Taskwarrior's JSON export", (".json",), taskwarrior.read),
            Format("jsonl", "JSON Lines", (".jsonl", ".ndjson"), jsonl.read),
            Format("csv", "CSV with a header", (".csv",), csv_file.read),
        )
    }
)


class Source:
    """An input that exists and has a known format; `open_source` makes it.

    `skipped` counts the records that the latest reading omitted, such as ``{'deleted task': 3}``.
    Broken records are reported, not counted.
    """

    def __init__(
        self, path: Path, fmt: Format, today: dt.date | None, name: str | None = None
    ) -> None:
        self._path = path
        self.file = name or ("standard input" if _is_stdin(path) else str(path))
        """The name of the input in errors."""
        self._format = fmt
        self._today = today
        self._input: Input | None = None
        self._stopped = False
        self.skipped: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The name of the format, a key of `FORMATS`."""
        return self._format.name

    def read(self, on_broken: OnBroken) -> Iterator[Task]:
        """Yield the tasks one at a time; memory never holds the whole input.

        `on_broken` is called with a `BrokenLineError` for each broken record, and reading continues
        unless it raises. Raises InputError when the input cannot be read to its end, or when the
        header of a CSV file cannot be used.
        """
        today = self._today or runtime.today()
        reading = Reading(self.file, today, on_broken)
        self.skipped = reading.skipped
        if _is_stdin(self._path):
            yield from self._format.read(self._opened(sys.stdin.buffer), reading)
            return
        try:
            stream = open(self._path, "rb", opener=open_high)  # noqa: SIM115
        except OSError as error:
            raise _unreadable(self._path, error) from error
        with stream:
            yield from self._format.read(self._opened(stream), reading)

    def stop(self) -> None:
        """Have all reading end soon, even within a line without end; any thread may call it.

        The last record may be cut short, and then it is reported as broken: leave out what is read
        after this call.
        """
        self._stopped = True
        if self._input is not None:
            self._input.stopped = True

    def _opened(self, stream: BinaryIO) -> Input:
        self._input = Input(stream, self.file)
        self._input.stopped = self._stopped  # `stop` may have been called before
        return self._input


def open_source(
    path: Path | str,
    *,
    format: str | None = None,  # noqa: A002 - the option's name
    today: dt.date | None = None,
    name: str | None = None,
) -> Source:
    """Open the input at `path`, or standard input for ``-``.

    `format` is a key of `FORMATS`; by default the ending of the path decides. A task that waits for
    a later date than `today` is waiting; the default is the day of reading. `name` is the name of
    the input in errors, by default its path.

    Raises UnknownFormatError when the format is unknown, and InputError when the file does not
    exist, is a folder or a device, or may not be read.
    """
    path = Path(path)
    # Unlike `Path.is_dir`, it is false for a name that is too long.
    if not _is_stdin(path) and os.path.isdir(path):  # noqa: PTH112
        raise InputError("it is a folder", place=str(path), remedy="name a file in that folder")
    fmt = _format_of(path, format)
    if not _is_stdin(path):
        _check(path)
    return Source(path, fmt, today, name)


def _is_stdin(path: Path) -> bool:
    return str(path) == "-"


def _format_of(path: Path, name: str | None) -> Format:
    if name is not None:
        if name in FORMATS:
            return FORMATS[name]
        cause = f"unknown format {name!r}{did_you_mean(name, FORMATS)}"
        raise UnknownFormatError(cause, place="`format`", remedy=_formats())
    ending = path.suffix.lower()
    for fmt in FORMATS.values():
        if ending in fmt.endings:
            return fmt
    if _is_stdin(path):
        raise UnknownFormatError(
            "the format of standard input is unknown", place="-", remedy=_formats()
        )
    cause = f"no format has the ending {ending!r}" if ending else "the file's name has no ending"
    raise UnknownFormatError(cause, place=str(path), remedy=_formats())


def _formats() -> str:
    known = (f"{f.name} ({f.title}: {', '.join(f.endings)})" for f in FORMATS.values())
    return f"give `format`, one of: {'; '.join(known)}"


def _check(path: Path) -> None:
    """Check the path without opening it, because opening it would drain a pipe."""
    try:
        info = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise _unreadable(path, error) from error
    refuse_device(info, str(path))
    if not os.access(path, os.R_OK):
        raise InputError(
            "the file may not be read",
            place=str(path),
            remedy="check its permissions",
        )


def refuse_device(info: os.stat_result, place: str) -> None:
    """Raise InputError if the input is a device, which may have no end; /dev/null is empty.

    `info` is what stat(2) says about the input, and `place` is its name in the error.
    """
    is_block = stat.S_ISBLK(info.st_mode)
    is_null = info.st_rdev == Path(os.devnull).stat().st_rdev
    if is_block or (stat.S_ISCHR(info.st_mode) and not is_null):
        raise InputError(
            f"it is a {'block' if is_block else 'character'} device, which may have no end",
            place=place,
            remedy="name a file or a pipe, or give - and pipe the tasks in",
        )


def _unreadable(path: Path, error: OSError | ValueError) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError("there is no such file", place=str(path), remedy="check the path")
    cause = getattr(error, "strerror", None) or str(error)
    return InputError(f"cannot be opened: {cause}", place=str(path), remedy="check the path")
