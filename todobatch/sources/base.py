"""Reads bytes and lines for all formats, and reports broken records."""

import codecs
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from todobatch.errors import BrokenLineError, InputError
from todobatch.model import Task
from todobatch.sources.fields import LONGEST_LINE, FieldError

OnBroken: TypeAlias = Callable[[BrokenLineError], None]
"""A function that is called with each broken record; reading continues unless it raises."""

_UTF8_REMEDY = "save the file as UTF-8"
_MOST_NAMES = 100  # count at most this many kinds, because a file may have any number of keys


@dataclass(slots=True)
class Reading:
    """The state of reading an input once. It reports broken records and counts omitted ones."""

    file: str
    """The name of the input in errors."""
    today: dt.date
    """A task that waits for a later date than this one has the status 'waiting'."""
    on_broken: OnBroken
    skipped: dict[str, int] = field(default_factory=dict)
    """How many records of each kind were omitted, such as ``'deleted task'``."""

    def broken(self, line: int, cause: str, remedy: str = "") -> None:
        """Report the record that begins at `line`, counted from 1."""
        self.on_broken(BrokenLineError(cause, file=self.file, line=line, remedy=remedy))

    def broken_field(self, line: int, error: FieldError) -> None:
        """Report the record at `line`, with its first field that cannot be read."""
        self.broken(line, str(error), error.remedy)

    def skip(self, what: str) -> None:
        """Count an omitted record of this kind."""
        if what in self.skipped or len(self.skipped) < _MOST_NAMES:
            self.skipped[what] = self.skipped.get(what, 0) + 1


class Input:
    """The bytes of an input. System errors while reading become `InputError`.

    A ``try`` around the whole loop instead would also catch the caller's errors.
    """

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream = stream
        self._file = file

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; returns ``b""`` at the end."""
        try:
            return self._stream.read(size)
        except OSError as error:
            raise self._failed(error) from error

    def readline(self, limit: int) -> bytes:
        """Read a line with its line end, but at most `limit` bytes."""
        try:
            return self._stream.readline(limit)
        except OSError as error:
            raise self._failed(error) from error

    def start(self, first: bytes) -> bytes:
        """Remove UTF-8's byte order mark from the first bytes. Raises InputError for UTF-16."""
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError("the file is UTF-16, not UTF-8", place=self._file, remedy=_UTF8_REMEDY)
        return first.removeprefix(codecs.BOM_UTF8)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"reading failed before the end: {error.strerror or error}",
            place=self._file,
            remedy="check the disk or device that it is on",
        )


Reader: TypeAlias = Callable[[Input, Reading], Iterator[Task]]
"""Reads all tasks of an input in one format."""


def read_lines(source: Input, reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line; LF and CRLF both end a line.

    A line that is not UTF-8, holds a NUL byte or has more than `LONGEST_LINE` characters is
    reported as broken. Memory never holds more than one line of at most that length.
    """
    # UTF-8 has at most 4 bytes a character; its byte order mark has 3, and CRLF 2.
    limit = 4 * LONGEST_LINE + 3 + 2
    number = 0
    while raw := source.readline(limit):
        number += 1
        is_cut = len(raw) == limit and not raw.endswith(b"\n")
        if number == 1:
            raw = source.start(raw)
        if is_cut:
            _skip_rest(source, limit)
            reading.broken(number, _too_long(), _LONG_REMEDY)
            continue
        text = _decode(raw, number, reading)
        if text is not None:
            yield number, text


_LONG_REMEDY = "check that the file is text with one task a line"


def _too_long() -> str:
    return f"the line has more than {LONGEST_LINE:,} characters"


def _skip_rest(source: Input, limit: int) -> None:
    while (more := source.readline(limit)) and not more.endswith(b"\n"):
        pass


def _decode(raw: bytes, number: int, reading: Reading) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        cause = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8"
        reading.broken(number, cause, _UTF8_REMEDY)
        return None
    text = text.removesuffix("\n").removesuffix("\r")
    if len(text) > LONGEST_LINE:
        reading.broken(number, _too_long(), _LONG_REMEDY)
    elif "\0" in text:
        reading.broken(number, "the line holds a NUL byte", _LONG_REMEDY)
    else:
        return text
    return None
