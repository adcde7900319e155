"""What every reader shares: one pass over one input, and what it reports while it reads."""

import codecs
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

from todobatch.errors import BrokenLineError, InputError
from todobatch.model import Task
from todobatch.sources.fields import LONGEST_LINE, FieldError

OnBroken: TypeAlias = Callable[[BrokenLineError], None]

_UTF8_REMEDY = "save the file as UTF-8"
_MOST_NAMES = 100  # of kinds left out: a file of random keys must not grow memory


@dataclass(slots=True)
class Reading:
    """One pass over one input: where broken records go, and what was left out on purpose."""

    file: str
    """As the user named it."""
    today: dt.date
    """Decides whether a task that waits for a day waits still."""
    on_broken: OnBroken
    skipped: dict[str, int] = field(default_factory=dict)
    """Kind of thing left out on purpose (``'deleted task'``) -> how often."""

    def broken(self, line: int, cause: str, remedy: str = "") -> None:
        """Report the record that begins at `line`, counted from 1, and go on."""
        self.on_broken(BrokenLineError(cause, file=self.file, line=line, remedy=remedy))

    def broken_field(self, line: int, error: FieldError) -> None:
        """Report a record by its first field that makes no sense."""
        self.broken(line, str(error), error.remedy)

    def skip(self, what: str) -> None:
        """Count one thing that is left out because the format's mapping says so."""
        if what in self.skipped or len(self.skipped) < _MOST_NAMES:
            self.skipped[what] = self.skipped.get(what, 0) + 1


class Input:
    """The bytes of an input. An error of the system while reading becomes an `InputError` here.

    (A ``try`` around the whole loop would also catch what the caller's own writing raises.)
    """

    def __init__(self, stream: BinaryIO, file: str) -> None:
        self._stream = stream
        self._file = file

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            return self._stream.read(size)
        except OSError as error:
            raise self._failed(error) from error

    def readline(self, limit: int) -> bytes:
        """One line with its end, or its first `limit` bytes."""
        try:
            return self._stream.readline(limit)
        except OSError as error:
            raise self._failed(error) from error

    def start(self, first: bytes) -> bytes:
        """The first bytes of the input without UTF-8's mark. Raises InputError for UTF-16."""
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError("this is UTF-16, not UTF-8", place=self._file, remedy=_UTF8_REMEDY)
        return first.removeprefix(codecs.BOM_UTF8)

    def _failed(self, error: OSError) -> InputError:
        return InputError(
            f"cannot be read to its end: {error.strerror or error}",
            place=self._file,
            remedy="check the disk or device that it is on",
        )


Reader: TypeAlias = Callable[[Input, Reading], Iterator[Task]]


def read_lines(source: Input, reading: Reading) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of each line, without its end; LF and CRLF both end a line.

    A line that is not UTF-8, holds a NUL or has more than 10,000 characters is reported as broken
    and left out. Never more than one line is held, and of a longer one never more than its limit.
    """
    # UTF-8 has at most 4 bytes a character; its mark 3; CRLF 2.
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


_LONG_REMEDY = "is this a text file with one task a line?"


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
