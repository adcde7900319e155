"""Computes the next due date of a task that recurs."""

import calendar
import datetime as dt
import re

PATTERN = re.compile(r"(?P<strict>\+?)(?P<count>[1-9][0-9]{0,3})(?P<unit>[bdwmy])")
SATURDAY = 5


def next_due(recurrence: str, due: dt.date | None, finished: dt.date) -> dt.date:
    """Return the next due date of a task that was finished on `finished`.

    `recurrence` is ``[+]<count><unit>`` with the units b (business days), d, w, m and y. With '+'
    the interval starts at the old due date, as in todo.txt's ``rec:``, otherwise at `finished`. In
    a month without that day the last day is due (31 January + 1m = 28 or 29 February).
    Raises ValueError when `recurrence` is not of that form or the date is beyond the calendar.
    """
    match = PATTERN.fullmatch(recurrence)
    if match is None:
        raise ValueError(f"recurrence {recurrence!r} is not of the form [+]<count><b|d|w|m|y>")
    start = due if match["strict"] and due is not None else finished
    count = int(match["count"])
    try:
        return _advance(start, count, match["unit"])
    except OverflowError as error:
        raise ValueError(f"recurrence {recurrence!r} ends after the year 9999") from error


def _advance(start: dt.date, count: int, unit: str) -> dt.date:
    if unit == "d":
        return start + dt.timedelta(days=count)
    if unit == "w":
        return start + dt.timedelta(weeks=count)
    if unit == "b":
        return _business_days(start, count)
    return _months(start, count if unit == "m" else 12 * count)


def _business_days(start: dt.date, count: int) -> dt.date:
    weeks, rest = divmod(count, 5)
    day = start + dt.timedelta(weeks=weeks)
    while rest or day.weekday() >= SATURDAY:
        day += dt.timedelta(days=1)
        if day.weekday() < SATURDAY and rest:
            rest -= 1
    return day


def _months(start: dt.date, count: int) -> dt.date:
    years, month0 = divmod(start.month - 1 + count, 12)
    year, month = start.year + years, month0 + 1
    if year > dt.MAXYEAR:
        raise OverflowError(year)
    return dt.date(year, month, min(start.day, calendar.monthrange(year, month)[1]))
