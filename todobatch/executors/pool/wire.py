"""Pickles batches and results for another process or interpreter, several at a time.

Pickling a `Task` as an object calls Python code on both sides. So the tasks of a message are sent
as one list for each field, which is some five times faster. Dates would cost as much as all the
rest. So they are sent as day numbers, and each worker caches the dates that it has made. Other
types than `Batch`, `Part` and `Task` are pickled as usual. So is a column of dates that has other
values than dates and None.

Protocol 5 copies large texts once, not twice.
"""

import datetime as dt
import pickle
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any

from todobatch.model import Batch, Part, ProcessingResult, Task, WorkerSeen

PROTOCOL = 5

_TASK_FIELDS: tuple[str, ...] = Task.__match_args__
_READ = [attrgetter(name) for name in _TASK_FIELDS]
# The slots' own setters, because a frozen `Task` refuses other assignments.
_WRITE = [getattr(Task, name).__set__ for name in _TASK_FIELDS]
_DATES = [_TASK_FIELDS.index(name) for name in ("due", "created", "completed")]
_DATE_OR_NONE = {dt.date, type(None)}
_MOST_DATES = 20_000
"""A worker caches at most this many dates, the days of 55 years."""
_RESULT = attrgetter(*(n for n in ProcessingResult.__match_args__ if n not in {"partial", "seen"}))
_PARTIAL = ProcessingResult.__match_args__.index("partial")
_SEEN_AT = ProcessingResult.__match_args__.index("seen")
_SEEN = attrgetter(*WorkerSeen.__match_args__)
_SERIALISE = WorkerSeen.__match_args__.index("serialise_s")


class _Dates(dict[int | None, dt.date | None]):
    """A cache of dates by day number. Only the worker's thread uses it."""

    def __missing__(self, day: int) -> dt.date:
        if len(self) > _MOST_DATES:
            self.clear()
            self[None] = None
        date = self[day] = dt.date.fromordinal(day)
        return date


_date_of = _Dates({None: None}).__getitem__


def pack_batches(batches: Sequence[Batch]) -> bytes:
    """Pickle batches. Raises whatever pickling one of their values raises."""
    tasks = [task for batch in batches for task in batch.tasks]
    if not {*map(type, batches)} <= {Batch, Part} or not {*map(type, tasks)} <= {Task}:
        return pickle.dumps((None, list(batches), ()), PROTOCOL)
    heads = [
        (each.index, each.first, len(each.tasks), each.number if isinstance(each, Part) else None)
        for each in batches
    ]
    columns: list[list[Any]] = [list(map(read, tasks)) for read in _READ]
    days = [at for at in _DATES if {*map(type, columns[at])} <= _DATE_OR_NONE]
    for at in days:
        columns[at] = [date and date.toordinal() for date in columns[at]]
    return pickle.dumps((heads, columns, days), PROTOCOL)


def unpack_batches(data: Any) -> list[Batch]:
    """Unpickle batches. Raises whatever unpickling one of their values raises."""
    heads, columns, days = pickle.loads(data)  # noqa: S301 - our own
    if heads is None:
        whole: list[Batch] = columns
        return whole
    tasks: list[Task] = list(map(object.__new__, repeat(Task, len(columns[0]))))
    for at in days:
        columns[at] = map(_date_of, columns[at])
    for write, column in zip(_WRITE, columns, strict=True):
        deque(map(write, tasks, column), maxlen=0)
    batches, at = [], 0
    for index, first, count, number in heads:
        own = tuple(tasks[at : at + count])
        batches.append(
            Batch(index, own, first) if number is None else Part(index, own, first, number)
        )
        at += count
    return batches


def pack_results(results: Sequence[ProcessingResult]) -> bytes:
    """Pickle results. Raises whatever pickling one of their values raises."""
    return pickle.dumps(
        [(_RESULT(each), dict(each.partial), _SEEN(each.seen)) for each in results], PROTOCOL
    )


def unpack_results(data: Any, serialise_s: float, return_s: float) -> list[ProcessingResult]:
    """Unpickle results, and record in `WorkerSeen.return_s` how long each took to arrive."""
    results = []
    for values, partial, seen in pickle.loads(data):  # noqa: S301 - our own
        whole = list(values)
        whole.insert(_PARTIAL, partial)
        account: list[Any] = [*seen[:_SERIALISE], serialise_s, return_s]
        whole.insert(_SEEN_AT, WorkerSeen(*account))
        results.append(ProcessingResult(*whole))
    return results
