"""`generate`: makes any number of tasks from a seed, the same on every interpreter.

Each task is made from 64 random bits, which are split into fields that index fixed tables. Only
`random.Random.getrandbits` is used, because its sequence is fixed for a seed. `choice` and
`shuffle` have changed between Python versions. Task number k depends only on the seed and k, so a
shorter run is a prefix of a longer one.
"""

import datetime as dt
import random
from collections.abc import Callable, Iterator
from functools import cache

from todobatch.errors import UsageError
from todobatch.model import Task

REFERENCE_DAY = dt.date(2026, 11, 24)
"""The default of `today` in `generate`. It is fixed, so the tasks are the same every day."""

_VERBS = (
    "Answer", "Archive", "Ask for", "Back up", "Book", "Borrow", "Bring back", "Buy",
    "Call about", "Cancel", "Check", "Clean", "Collect", "Compare", "Copy", "Correct",
    "Deliver", "Describe", "Discuss", "Draft", "Explain", "File", "Fill in", "Find",
    "Finish", "Fix", "Hand in", "Install", "Label", "Look over", "Measure", "Mend",
    "Move", "Order", "Organise", "Pack", "Pay for", "Photograph", "Pick up", "Plan",
    "Prepare", "Present", "Print", "Renew", "Repair", "Replace", "Report on", "Reserve",
    "Return", "Review", "Schedule", "Sell", "Send", "Set up", "Share", "Sign",
    "Sort", "Talk about", "Test", "Tidy", "Translate", "Update", "Wrap", "Write up",
)  # fmt: skip
_THINGS = (
    "the annual report", "the attic shelves", "the backup drive", "the balcony plants",
    "the bank statement", "the bicycle brakes", "the birthday present", "the boiler contract",
    "the book club list", "the budget sheet", "the bus pass", "the camera lens",
    "the car insurance", "the cellar light", "the choir notes", "the coffee machine",
    "the conference talk", "the contact list", "the curtain rail", "the customer survey",
    "the dentist's bill", "the desk lamp", "the dinner for six", "the door lock",
    "the electricity meter", "the exam papers", "the expense claim", "the family photos",
    "the fire alarm", "the flat tyre", "the garden fence", "the grant application",
    "the guest room", "the hiking boots", "the holiday tickets", "the invoice for May",
    "the kitchen tap", "the lease", "the library books", "the meeting notes",
    "the moving boxes", "the newsletter", "the office chair", "the onboarding guide",
    "the parcel", "the parents' evening", "the passport photos", "the piano lesson",
    "the printer ink", "the project outline", "the recycling", "the release notes",
    "the roof gutter", "the running shoes", "the school form", "the server certificate",
    "the spare keys", "the summer house", "the tax return", "the team offsite",
    "the travel plan", "the vaccination card", "the website header", "the winter coat",
)  # fmt: skip

# Each table has 32 entries, in which frequent values are repeated.
_PRIORITIES = (1,) * 2 + (2,) * 3 + (3,) * 4 + (4,) * 3 + (5,) * 12 + (6,) * 2 + (7,) * 2 + (8, 9, 10, 10)  # fmt: skip # noqa: E501
_PROJECTS: tuple[tuple[str, ...], ...] = (
    *((),) * 8, *(("work.website",),) * 5, *(("work.reports",),) * 4, *(("home",),) * 5,
    *(("home.garden",),) * 3, *(("family",),) * 3, ("choir",), ("tax",), ("move",),
    ("home", "move"),
)  # fmt: skip
_CONTEXTS: tuple[tuple[str, ...], ...] = (
    *((),) * 8, *(("computer",),) * 7, *(("phone",),) * 5, *(("town",),) * 4, *(("home",),) * 4,
    *(("office",),) * 2, ("computer", "office"), ("phone", "office"),
)  # fmt: skip
_RECURRENCES: tuple[str | None, ...] = (
    *(None,) * 26, "1d", "1w", "+1w", "2w", "+1m", "+1y",
)  # fmt: skip
_STATUSES = ("pending",) * 7 + ("waiting",)

_MOST_DAYS_AGO = 255
_DONE_IN_1024 = 307  # 30 %
_DUE_IN_8 = 6


def generate(n: int, *, seed: int = 0, today: dt.date = REFERENCE_DAY) -> Iterator[Task]:
    """Yield the first `n` tasks of the stream that `seed` determines.

    About 30 % are done, three quarters have a due date before or after `today`, and a fifth recur.
    Half of the priorities are 4 to 6. `TaskValidator` finds no problem in them on `today`. Raises
    UsageError when `n` is negative or `today` is too near to the year 1 or 9999.
    """
    if n < 0:
        raise UsageError(f"cannot generate {n} tasks", place="`n`", remedy="give 0 or more")
    try:
        first = today - dt.timedelta(days=_MOST_DAYS_AGO)
        # Days are counted from `first`. The last one is the latest due date of a task made today.
        days = tuple(first + dt.timedelta(days=k) for k in range(2 * _MOST_DAYS_AGO + 1))
    except OverflowError as error:
        raise UsageError(
            f"tasks around {today} would need dates outside the years 1 to 9999",
            place="`today`",
            remedy="give a date at least two years from the years 1 and 9999",
        ) from error
    return _stream(n, random.Random(seed).getrandbits, days)


@cache
def _titles() -> tuple[str, ...]:
    return tuple(f"{verb} {thing}" for verb in _VERBS for thing in _THINGS)


def _stream(n: int, draw: Callable[[int], int], days: tuple[dt.date, ...]) -> Iterator[Task]:
    """Make tasks of 64 bits: title 12, priority 5, done 10, age 8, due 11, tables 15, other 3."""
    # Local names are the fastest, and a million tasks may be made here.
    titles, make, today = _titles(), Task, _MOST_DAYS_AGO
    for _ in range(n):
        bits = draw(64)
        done = bits >> 17 & 1023 < _DONE_IN_1024
        # Open tasks are younger, because otherwise half of them would be overdue.
        age = bits >> 27 & 255 if done else bits >> 28 & 127
        last = bits >> 61
        yield make(
            titles[bits & 4095],
            _PRIORITIES[bits >> 12 & 31],
            done,
            days[today - age + (bits >> 38 & 255)] if bits >> 35 & 7 < _DUE_IN_8 else None,
            days[today - age],
            days[today - (age * last >> 3)] if done else None,
            _PROJECTS[bits >> 46 & 31],
            _CONTEXTS[bits >> 51 & 31],
            _RECURRENCES[bits >> 56 & 31],
            "completed" if done else _STATUSES[last],
        )
