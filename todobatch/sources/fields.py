"""Parses the fields of a task. All formats use it, so all refuse the same values.

Each function converts the text or JSON value of a field for `Task`, or raises `FieldError`.
"""

import datetime as dt
import re
from calendar import month_name, monthrange
from functools import lru_cache

from todobatch.model import HIGHEST_PRIORITY, LOWEST_PRIORITY

LONGEST_LINE = 10_000
"""A line or title has at most this many characters; longer ones are binary or have open quotes."""

STATUSES = ("pending", "waiting", "overdue", "completed")
"""The valid values of `Task.status`."""


class FieldError(ValueError):
    """Raised when a field of a record cannot be read; `remedy` says how it should look."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(cause)
        self.remedy = remedy


def show(value: object) -> str:
    """Show a value in an error: its `repr`, shortened to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


# C0 without tab and newline, DEL and C1: a terminal would execute them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def parse_title(text: str) -> str:
    """Strip a title of whitespace. Raises FieldError if it is empty, too long or not printable."""
    title = parse_text(text, "title")
    if not title:
        raise FieldError("the title is empty", "give the task a title")
    if len(title) > LONGEST_LINE:
        raise FieldError(
            f"the title has {len(title):,} characters, above {LONGEST_LINE:,}", "shorten the title"
        )
    return title


def parse_text(text: str, what: str) -> str:
    """Strip a text of whitespace. Raises FieldError if it is not printable."""
    control = _CONTROL.search(text)
    if control:
        raise FieldError(
            f"the {what} holds the control character U+{ord(control[0]):04X}",
            "remove the character",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code = ord(text[error.start])
            raise FieldError(
                f"the {what} holds an unpaired surrogate (U+{code:04X})", "remove the character"
            ) from None
    return text.strip()


def parse_words(text: str, what: str) -> tuple[str, ...]:
    """Split a text at whitespace and ';' into words."""
    return tuple(parse_text(text, what).replace(";", " ").split())


_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DATE_REMEDY = "write dates as YYYY-MM-DD"


@lru_cache(maxsize=4096)
def parse_date(text: str, what: str) -> dt.date:
    """Parse a date such as ``2026-11-24``; `what` names the field in errors (``'due'``)."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise FieldError(f"the {what} date {show(text)} is not YYYY-MM-DD", _DATE_REMEDY)
    return make_date(int(match[1]), int(match[2]), int(match[3]), text=text, what=what)


def make_date(year: int, month: int, day: int, *, text: str, what: str) -> dt.date:
    """Make a date. Raises FieldError that names the part that does not exist."""
    place = f"the {what} date {show(text)} is impossible"
    if year < dt.MINYEAR:
        raise FieldError(f"{place}: there is no year {year}", _DATE_REMEDY)
    if not 1 <= month <= 12:
        raise FieldError(f"{place}: there is no month {month}", _DATE_REMEDY)
    days = monthrange(year, month)[1]
    if not 1 <= day <= days:
        name = f"{month_name[month]} {year}"
        raise FieldError(f"{place}: {name} has {days} days", _DATE_REMEDY)
    return dt.date(year, month, day)


_MOMENT = re.compile(
    r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})"
    r"(?:[T ][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def parse_moment(text: str, what: str) -> dt.date:
    """Parse an ISO 8601 date or moment and return its day, such as ``20261124T120000Z``.

    A moment with a time zone is converted to this machine's time zone first. For instance,
    Taskwarrior saves "due on the 24th" in Berlin as ``20261123T230000Z``.
    """
    if len(text) == len("YYYY-MM-DD") and text[4] == text[7] == "-":
        return parse_date(text, what)  # the most frequent form, whose dates are cached
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise FieldError(
            f"the {what} date {show(text)} is not ISO 8601",
            "write moments as 20261124T120000Z or 2026-11-24T12:00:00Z, dates as YYYY-MM-DD",
        )
    day = make_date(int(match[1]), int(match[3]), int(match[4]), text=text, what=what)
    if len(text) <= len("YYYY-MM-DD"):
        return day
    try:
        moment = dt.datetime.fromisoformat(text)
        return day if moment.tzinfo is None else moment.astimezone().date()
    except (
        ValueError,
        OverflowError,
        OSError,
    ):  # the last two come from local times near the years 1 and 9999
        raise FieldError(f"the {what} date {show(text)} is impossible", _DATE_REMEDY) from None


_PRIORITY_REMEDY = f"give {HIGHEST_PRIORITY} (highest) to {LOWEST_PRIORITY} (lowest)"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def parse_priority(value: object) -> int:
    """Parse a whole number from 1 (highest) to 10 (lowest), given as a number or as text."""
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(f"the priority {show(value)} is not a whole number", _PRIORITY_REMEDY)
    if not HIGHEST_PRIORITY <= value <= LOWEST_PRIORITY:
        raise FieldError(
            f"the priority {show(value)} is not between {HIGHEST_PRIORITY} and {LOWEST_PRIORITY}",
            _PRIORITY_REMEDY,
        )
    return value


def priority_of_letter(letter: str) -> int:
    """Convert a priority of todo.txt: A is 1, B is 2, …, J and every later letter is 10."""
    return min(ord(letter) - ord("A") + HIGHEST_PRIORITY, LOWEST_PRIORITY)


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def parse_done(value: object) -> bool:
    """Parse true or false, yes or no, 1 or 0, in any case."""
    done = _BOOLEANS.get(str(value).strip().lower())
    if done is None or isinstance(value, float):
        raise FieldError(
            f"done is {show(value)}, which is neither true nor false",
            "give true or false, yes or no, 1 or 0",
        )
    return done


def parse_status(value: str) -> str:
    """Parse one of `STATUSES`, in any case."""
    status = value.strip().lower()
    if status not in STATUSES:
        raise FieldError(
            f"the status {show(value)} is unknown", f"give one of {', '.join(STATUSES)}"
        )
    return status


# Taskwarrior's names and units; its sennight has two weeks.
_NAMED = {
    "daily": "1d", "weekdays": "1b", "weekly": "1w", "sennight": "2w", "biweekly": "2w",
    "fortnight": "2w", "monthly": "1m", "bimonthly": "2m", "quarterly": "3m", "semiannual": "6m",
    "annual": "1y", "yearly": "1y", "biannual": "2y", "biyearly": "2y",
}  # fmt: skip
_UNITS = {
    **dict.fromkeys(("d", "day", "days"), (1, "d")),
    **dict.fromkeys(("b",), (1, "b")),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), (1, "w")),
    **dict.fromkeys(("m", "mo", "mos", "mth", "mths", "mnths", "month", "months"), (1, "m")),
    **dict.fromkeys(("q", "qtr", "qtrs", "qrtr", "qrtrs", "quarter", "quarters"), (3, "m")),
    **dict.fromkeys(("y", "yr", "yrs", "year", "years"), (1, "y")),
}
_COUNTED = re.compile(r"([0-9]{0,6}) ?([a-z]+)")
_ISO = re.compile(
    r"p(?:([0-9]{1,6})y)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})w)?(?:([0-9]{1,6})d)?"
    r"(?:t(?:0+h)?(?:0+m)?(?:0+s)?)?"  # Taskwarrior may write a time of zero
)
_RECURRENCE_REMEDY = "write it as 3d, 5b (business days), 1w, 2m or 1y, with '+' from the due date"
_MOST = 9999
_MOST_YEARS = 999  # the calendar ends with the year 9999, and more would lead beyond it


@lru_cache(maxsize=1024)
def parse_recurrence(text: str) -> str:
    """Parse a recurrence into the form ``[+]<count><d|b|w|m|y>`` that `Task.recurrence` holds.

    It accepts todo.txt's ``rec:`` (``+1w``), words (``weekly``), counted units (``2wks``,
    ``3 months``, ``1q``) and ISO 8601 periods of whole days (``P1W``, ``P1Y6M``). The count is 1 to
    9999, or to 999 years. ``b`` is business days. Raises FieldError for anything else.
    """
    plain = text.strip().lower()
    strict, plain = ("+", plain[1:]) if plain.startswith("+") else ("", plain)
    canonical = _NAMED.get(plain) or _counted(plain) or _iso(plain)
    if canonical is None:
        raise FieldError(f"the recurrence {show(text)} is not understood", _RECURRENCE_REMEDY)
    most = _MOST_YEARS if canonical.endswith("y") else _MOST
    if not 1 <= int(canonical[:-1]) <= most:
        raise FieldError(
            f"the count of the recurrence {show(text)} is not between 1 and {most}",
            _RECURRENCE_REMEDY,
        )
    return strict + canonical


def _counted(plain: str) -> str | None:
    match = _COUNTED.fullmatch(plain)
    if match is None or match[2] not in _UNITS:
        return None
    factor, unit = _UNITS[match[2]]
    return f"{int(match[1] or 1) * factor}{unit}"


def _iso(plain: str) -> str | None:
    """Parse an ISO 8601 period of years and months, or of weeks and days, but not of both."""
    match = _ISO.fullmatch(plain)
    if match is None or not any(match.groups()):
        return None
    years, months, weeks, days = (int(part or 0) for part in match.groups())
    if (years or months) and (weeks or days):
        return None
    if days:
        return f"{7 * weeks + days}d"
    if weeks:
        return f"{weeks}w"
    return f"{12 * years + months}m" if months else f"{years}y"
