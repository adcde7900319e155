"""Makes a task from named values, for JSON Lines and CSV.

The names are those of `Task`'s fields. Only `title` is required; a null or blank value counts as
not given. Other names are omitted and counted, so a file may have more columns.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import fields

from todobatch.model import DEFAULT_PRIORITY, Task
from todobatch.sources.fields import (
    FieldError,
    parse_done,
    parse_moment,
    parse_priority,
    parse_recurrence,
    parse_status,
    parse_text,
    parse_title,
    parse_words,
    show,
)

NAMES = tuple(field.name for field in fields(Task))
"""The names that are read: the fields of `Task`."""


def task_from(values: Mapping[str, object]) -> Task:
    """Make a task from its values. Raises FieldError for the first that cannot be read."""
    given = {name: values[name] for name in NAMES if not _is_blank(values.get(name))}
    if "title" not in given:
        raise FieldError("there is no title", f"give a title; all names are {', '.join(NAMES)}")
    recurrence = _text(given["recurrence"], "recurrence") if "recurrence" in given else None
    done, status = _state(given.get("done"), given.get("status"))
    return Task(
        title=parse_title(_text(given["title"], "title")),
        priority=parse_priority(given.get("priority", DEFAULT_PRIORITY)),
        done=done,
        due=_date(given, "due"),
        created=_date(given, "created"),
        completed=_date(given, "completed"),
        projects=_words(given.get("projects", ()), "projects"),
        contexts=_words(given.get("contexts", ()), "contexts"),
        recurrence=recurrence and parse_recurrence(recurrence),
        status=status,
    )


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise FieldError(f"the {what} {show(value)} is not text", f"give the {what} as text")
    return value


def _date(given: Mapping[str, object], name: str) -> dt.date | None:
    if name not in given:
        return None
    return parse_moment(_text(given[name], f"{name} date").strip(), name)


def _words(value: object, what: str) -> tuple[str, ...]:
    """Split a text at whitespace and ';'; the items of a list are kept whole."""
    if isinstance(value, str):
        return parse_words(value, what)
    if not isinstance(value, list | tuple):
        raise FieldError(
            f"{what} is {show(value)}, which is not a list of strings",
            f"give {what} as a list of strings",
        )
    words = (parse_text(_text(item, f"item of {what}"), what) for item in value)
    return tuple(word for word in words if word)


def _state(done: object, status: object) -> tuple[bool, str]:
    """Return `done` and `status`, from either. Raises FieldError if they disagree."""
    if status is None:
        is_done = done is not None and parse_done(done)
        return is_done, "completed" if is_done else "pending"
    named = parse_status(_text(status, "status"))
    completed = named == "completed"
    if done is not None and parse_done(done) is not completed:
        raise FieldError(
            f"done is {show(done)} but the status is {named!r}",
            "leave one of them out, or make them agree",
        )
    return completed, named
