"""Reads todo.txt with the library pytodotxt, and makes a `Task` of each line.

See docs/reference/formats.md for the mapping. Lines that begin with ``#`` are comments.
"""

import datetime as dt
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from todobatch.errors import ExtraMissingError
from todobatch.model import DEFAULT_PRIORITY, Task
from todobatch.sources.base import Input, Reading, read_lines
from todobatch.sources.fields import (
    FieldError,
    parse_date,
    parse_priority,
    parse_recurrence,
    parse_text,
    parse_title,
    priority_of_letter,
)

_KEYS = frozenset({"due", "rec", "pri", "t"})


def read(source: Input, reading: Reading) -> Iterator[Task]:
    """Yield the tasks of a todo.txt input; blank lines and comments are skipped."""
    parse = _parser()
    for number, line in read_lines(source, reading):
        if line.startswith("#"):
            reading.skip("comment line")
        elif line.strip():
            try:
                parse_text(line, "line")  # refuses control characters, some of which split words
                task = _task(parse(line), reading.today)
            except FieldError as error:
                reading.broken_field(number, error)
            else:
                yield task


@cache
def _parser() -> Any:
    """Return pytodotxt's task class, changed to be as strict as todo.txt's rules."""
    try:
        import pytodotxt
    except ImportError as error:
        raise ExtraMissingError(
            "reading todo.txt needs the library pytodotxt, which is not installed",
            remedy="run `pip install pytodotxt`",
        ) from error

    class Line(pytodotxt.Task):  # type: ignore[misc]
        # One letter, then a blank: "(ASAP) call" and "(A)ll" are titles.
        PRIORITY_RE = re.compile(r"^\s*\(([A-Z])\)(?=\s|$)")
        DATE_RE = re.compile(r"^\s*([0-9]{4}-[0-9]{2}-[0-9]{2})(?=\s|$)")

        @classmethod
        def parse_date(cls, text: str) -> dt.date:
            return parse_date(text, "leading")

    return Line


def _task(line: Any, today: dt.date) -> Task:
    created, completed, description = _leading_dates(line)
    words, keys = _split(description)
    done = bool(line.is_completed)
    waits_until = parse_date(keys["t"], "threshold (t:)") if "t" in keys else None
    waiting = not done and waits_until is not None and waits_until > today
    return Task(
        title=parse_title(" ".join(words)),
        priority=_priority(line.priority, keys.get("pri")),
        done=done,
        due=parse_date(keys["due"], "due") if "due" in keys else None,
        created=created,
        completed=completed,
        projects=tuple(line.projects),
        contexts=tuple(line.contexts),
        recurrence=parse_recurrence(keys["rec"]) if "rec" in keys else None,
        status="completed" if done else "waiting" if waiting else "pending",
    )


def _leading_dates(line: Any) -> tuple[dt.date | None, dt.date | None, str]:
    """Return the creation date, the completion date and the text after them.

    pytodotxt looks for a completion date only before the priority. So in ``x (A) 2026-05-20
    2026-04-30 …`` it takes the first date for the creation date. This function corrects that.
    """
    created, completed, description = line.creation_date, line.completion_date, line.description
    if line.is_completed and line.priority and completed is None and created is not None:
        description, second = line.match_date(description or "")
        return second, created, description
    return created, completed, description or ""


def _split(description: str) -> tuple[list[str], dict[str, str]]:
    """Split a description into the words of the title and the values of known keys.

    Other ``key:value`` words stay in the title, such as "at 10:30".
    """
    words = []
    keys: dict[str, str] = {}
    for word in description.split():
        key, colon, value = word.partition(":")
        key = key.lower()
        if len(word) > 1 and word[0] in "+@":
            continue
        if not colon or key not in _KEYS:
            words.append(word)
        elif not value:
            raise FieldError(f"'{key}:' has no value", f"write {key}:value without a space")
        elif key in keys:
            raise FieldError(f"'{key}:' is given twice", "keep one of them")
        else:
            keys[key] = value
    return words, keys


def _priority(letter: str | None, pri: str | None) -> int:
    """Return the priority from ``(A)`` in front, or from the ``pri:`` of a finished task."""
    front = None if letter is None else priority_of_letter(letter)
    if pri is None:
        return DEFAULT_PRIORITY if front is None else front
    if len(pri) == 1 and pri.isascii() and pri.isalpha():
        behind = priority_of_letter(pri.upper())
    else:
        behind = parse_priority(pri)
    if front not in {None, behind}:
        raise FieldError(f"the priorities ({letter}) and pri:{pri} differ", "keep one of them")
    return behind
