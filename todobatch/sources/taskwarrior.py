"""Reads Taskwarrior's ``task export``: a JSON array, or objects alone (``json.array=off``).

Objects are decoded one at a time, so memory never holds the whole array. After a broken object,
reading continues at the next line that begins with ``{``. Lines that are indented deeper are
ignored, because they are annotations inside a task.
"""

import codecs
import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

from todobatch.model import DEFAULT_PRIORITY, Task
from todobatch.sources.base import BAD_BYTE, UTF8_REMEDY, Input, Reading
from todobatch.sources.fields import (
    FieldError,
    parse_moment,
    parse_recurrence,
    parse_text,
    parse_title,
    show,
)
from todobatch.sources.objects import DECODER, check_keys, long_number

PRIORITIES = {"H": 1, "M": 5, "L": 9}
"""Taskwarrior's priorities as numbers, as in iCalendar (RFC 5545, 3.8.1.9)."""

_LEFT_OUT = {"deleted": "deleted task", "recurring": "recurring template"}
_REMEDY = "write the file with `task export`: one object a line"


def read(source: Input, reading: Reading) -> Iterator[Task]:
    """Yield the tasks of an export, except deleted ones and templates of recurring ones."""
    for line, values in _Objects(source, reading):
        left_out = _LEFT_OUT.get(str(values.get("status")))
        if left_out:
            reading.skip(left_out)
            continue
        try:
            task = _task(values, reading)
        except FieldError as error:
            reading.broken_field(line, error)
        else:
            yield task


def _task(values: dict[str, Any], reading: Reading) -> Task:
    title = _text(values, "description")
    if title is None:
        raise FieldError(
            "there is no description",
            f"{_REMEDY}; if the key is named title, use the format jsonl",
        )
    project = parse_text(_text(values, "project") or "", "project")
    recurrence = _text(values, "recur")
    status = _status(values, reading.today)
    return Task(
        title=parse_title(title),
        priority=_priority(values.get("priority"), reading),
        done=status == "completed",
        due=_day(values, "due"),
        created=_day(values, "entry"),
        completed=_day(values, "end"),
        projects=(project,) if project else (),
        contexts=_tags(values.get("tags")),
        # Taskwarrior counts from the due date, whenever the task was finished.
        recurrence=f"+{parse_recurrence(recurrence)}" if recurrence else None,
        status=status,
    )


def _text(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value
    raise FieldError(f"the {name} {show(value)} is not text", _REMEDY)


def _day(values: dict[str, Any], name: str) -> dt.date | None:
    text = _text(values, name)
    return parse_moment(text, name) if text else None


def _status(values: dict[str, Any], today: dt.date) -> str:
    """Return the status; since Taskwarrior 2.6, a pending task with a future `wait` is waiting."""
    status = _text(values, "status") or "pending"
    if status not in {"pending", "waiting", "completed"}:
        raise FieldError(
            f"the status {show(status)} is unknown", "give pending, waiting or completed"
        )
    wait = _day(values, "wait")
    if status == "completed" or wait is None:
        return status
    return "waiting" if wait > today else "pending"


def _priority(value: object, reading: Reading) -> int:
    """Return the priority as a number; one that the user defined himself counts as none."""
    if value is None or value == "":
        return DEFAULT_PRIORITY
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise FieldError(f"the priority {show(value)} is not text", "give H, M or L")
    if value not in PRIORITIES:
        reading.skip(f"priority {show(value)} of your own")
    return PRIORITIES.get(str(value), DEFAULT_PRIORITY)


def _tags(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise FieldError(
            f"tags is {show(value)}, which is not a list of strings",
            "give tags as a list of strings",
        )
    return tuple(tag for tag in (parse_text(tag, "tag") for tag in value) if tag)


_PIECE = 1 << 16
_LONGEST_OBJECT = 1 << 18
"""An object with more characters is broken; this is enough for hundreds of annotations."""

_BETWEEN = re.compile(r"[ \t\r\n,]*")
_NO_TEXT = re.compile(f"[\0-\x08\x0e-\x1f\x7f]|{BAD_BYTE.pattern}")
_SHOWS_ITS_KIND = 64
"""Within so many characters, files such as archives have a byte that text does not have."""
_MORE_OBJECTS = re.compile(r"\}\s*,?\s*\{")


class _Objects:
    """Yields (line, object) pairs. The text in `_text` from `_at` on has not been used yet."""

    def __init__(self, source: Input, reading: Reading) -> None:
        self._source = source
        self._reading = reading
        self._decode = DECODER.raw_decode
        # A byte that is not UTF-8 becomes a surrogate, which breaks only the object that it is in.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._line = 1
        self._indent = 0  # how many characters precede `_at` on its line
        self._in_array = False
        self._begun = self._ended = False

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        while self._find_next():
            sign = self._text[self._at]
            if sign == ("]" if self._in_array else "["):
                self._in_array = not self._in_array
                self._advance(self._at + 1)
            elif sign != "{":
                self._broken(self._no_object())
            else:
                line, values = self._line, self._object()
                if values is not None:
                    yield line, values
        if self._in_array:
            self._reading.broken(self._line, "the array is not closed; the file may be incomplete")

    def _object(self) -> dict[str, Any] | None:
        """Decode the object at `_at`; returns None if it was reported as broken."""
        while True:
            try:
                values, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # The object may be incomplete: read more text and try again.
                is_long = len(self._text) - self._at >= _LONGEST_OBJECT
                if not is_long and self._more():
                    continue
                is_cut = error.pos >= len(self._text) or error.msg.startswith("Unterminated")
                if is_long and is_cut:
                    self._broken(f"the object has more than {_LONGEST_OBJECT:,} characters")
                else:
                    self._broken(f"not JSON: {error.msg}")
                return None
            except ValueError:
                self._broken(long_number())
                return None
            except RecursionError:
                self._broken("the JSON is nested too deeply")
                return None
            break
        line, raw = self._line, self._text[self._at : end]
        self._advance(end)
        bad_byte = None if raw.isascii() else BAD_BYTE.search(raw)
        if bad_byte is not None:
            cause = f"byte 0x{ord(bad_byte[0]) - 0xDC00:02x} is not UTF-8"
            self._reading.broken(line, cause, UTF8_REMEDY)
            return None
        assert isinstance(values, dict)
        try:
            check_keys(values)
        except FieldError as error:
            self._reading.broken_field(line, error)
            return None
        return values

    def _no_object(self) -> str:
        """Return the cause if what is at `_at` does not begin an object."""
        strange = _NO_TEXT.search(self._text, self._at, self._at + _SHOWS_ITS_KIND)
        if strange is None:
            return f"expected an object here, not {show(self._text[self._at])}"
        return f"this is not UTF-8 text: it holds the byte 0x{ord(strange[0]) & 0xFF:02x}"

    def _broken(self, cause: str) -> None:
        """Report the record at `_at` as broken, and find the next object that begins a line."""
        line = self._line
        self._reading.broken(line, cause, _REMEDY)
        next_object = re.compile(rf"\n[ \t,]{{0,{self._indent}}}(?=\{{)")
        lost_more, last_sign = False, ""
        self._advance(self._at + 1)
        while True:
            match = next_object.search(self._text, self._at)
            if match is not None:
                skipped = self._text[self._at : match.start()].rstrip() or last_sign
                self._in_array = self._in_array or skipped[-1:] == "["
                self._advance(match.start())
                return
            rest = self._text[self._at :]
            lost_more = lost_more or _MORE_OBJECTS.search(rest) is not None
            last_sign = rest.rstrip()[-1:] or last_sign
            # Keep the last line, because it may be incomplete; unless it is too long.
            last_line = self._text.rfind("\n", self._at)
            keep = last_line if len(self._text) - last_line < _PIECE else -1
            self._advance(len(self._text) if keep < self._at else keep)
            if not self._more():
                break
        self._advance(len(self._text))
        self._in_array = self._in_array and last_sign != "]"
        if lost_more:
            cause = "no line after this broken object begins another, so the rest is not read"
            self._reading.broken(line, cause, _REMEDY)

    def _find_next(self) -> bool:
        """Move to the next character that is not a space or comma; returns false at the end."""
        while True:
            between = _BETWEEN.match(self._text, self._at)
            assert between is not None
            self._advance(between.end())
            if self._at < len(self._text):
                return True
            if not self._more():
                return False

    def _advance(self, to: int) -> None:
        newline = self._text.rfind("\n", self._at, to)
        if newline < 0:
            self._indent += to - self._at
        else:
            self._indent = to - newline - 1
            self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Append another piece of the input to `_text`; returns false at the end of the input."""
        while not self._ended:
            raw = self._source.read(_PIECE)
            self._ended = not raw
            if not self._begun:
                raw = self._source.start(raw)
                self._begun = True
            piece = self._utf8.decode(raw, final=self._ended)
            if piece:
                self._text = self._text[self._at :] + piece
                self._at = 0
                return True
        return False
