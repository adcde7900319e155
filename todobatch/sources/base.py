"""Reads bytes and lines for all formats, and reports broken records."""

import codecs
import datetime as dt
import io
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from todobatch.errors import BrokenLineError, InputError
from todobatch.model import Task
from todobatch.sources.fields import LONGEST_LINE, FieldError

OnBroken: TypeAlias = Callable[[BrokenLineError], None]
"""A function that is called with each broken record; reading continues unless it raises."""

UTF8_REMEDY = "save the file as UTF-8"
BAD_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is not UTF-8, as the error handler surrogateescape shows it."""
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
        self.stopped = False
        """When it is set, by any thread, the input ends at its next piece or line."""

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; returns ``b""`` at the end."""
        try:
            return b"" if self.stopped else self._stream.read(size)
        except OSError as error:
            raise self._failed(error) from error

    def lines(self, limit: int) -> Iterator[str]:
        """Yield each line in pieces of at most `limit` characters, with a newline as its end.

        LF, CRLF and CR each end a line. A byte that is not UTF-8 becomes a surrogate. Raises
        InputError for UTF-16.
        """
        text = io.TextIOWrapper(self._stream, "utf-8-sig", errors="surrogateescape", newline=None)
        try:
            first = True
            while True:
                try:
                    line = text.readline(limit)
                except OSError as error:
                    raise self._failed(error) from error
                if first and line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
                    raise self._utf16()
                if not line or self.stopped:
                    return
                first = False
                yield line
        finally:
            with suppress(ValueError):  # the stream is closed already
                text.detach()  # otherwise it would close the stream

    def start(self, first: bytes) -> bytes:
        """Remove UTF-8's byte order mark from the first bytes. Raises InputError for UTF-16."""
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise self._utf16()
        return first.removeprefix(codecs.BOM_UTF8)

    def _utf16(self) -> InputError:
        return InputError("the file is UTF-16, not UTF-8", place=self._file, remedy=UTF8_REMEDY)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"reading failed before the end: {error.strerror or error}",
            place=self._file,
            remedy="check the disk or device that it is on",
        )


Reader: TypeAlias = Callable[[Input, Reading], Iterator[Task]]
"""Reads all tasks of an input in one format."""


def read_lines(source: Input, reading: Reading) -> Iterator[tuple[int, str]]:
    """Yield the number (from 1) and the text of each line; LF, CRLF and CR each end a line.

    A line that is not UTF-8, holds a NUL byte or has more than `LONGEST_LINE` characters is
    reported as broken. Memory never holds more than one line of at most that length.
    """
    limit = LONGEST_LINE + 1  # with its line end
    number, is_rest = 0, False
    for line in source.lines(limit):
        was_rest, is_rest = is_rest, len(line) == limit and not line.endswith("\n")
        if was_rest:
            continue
        number += 1
        if is_rest:
            cause = f"the line has more than {LONGEST_LINE:,} characters"
            reading.broken(number, cause, _LONG_REMEDY)
        elif not line.isascii() and (bad := BAD_BYTE.search(line)):
            before = len(line[: bad.start()].encode(errors="surrogateescape"))
            cause = f"byte {before + 1} of the line (0x{ord(bad[0]) - 0xDC00:02x}) is not UTF-8"
            reading.broken(number, cause, UTF8_REMEDY)
        elif "\0" in line:
            reading.broken(number, "the line holds a NUL byte", _LONG_REMEDY)
        else:
            yield number, line.removesuffix("\n")


_LONG_REMEDY = "check that the file is text with one task a line"
