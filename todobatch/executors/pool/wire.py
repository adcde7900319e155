"""How batches and results cross to another process or interpreter: pickled, several at a time.

A `Task` pickled as itself costs a call into Python on both sides. Here the tasks of all batches of
a message travel as one list a field, taken and put in place by loops that run in C: some five times
cheaper. Dates, which cost as much as all else together, travel as day numbers, and those that a
worker has seen are made once. Whatever is not exactly a `Batch` of `Task` pickles in the usual way,
and so does a field in which some date is not exactly a date.

Tasks and results hold text, numbers and dates, nothing that pickle could hand over out of band;
protocol 5 is used because it copies large texts once and not twice.
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
# A slot's own setter: `Task` is frozen for everyone, and here it is being made.
_WRITE = [getattr(Task, name).__set__ for name in _TASK_FIELDS]
_DATES = [_TASK_FIELDS.index(name) for name in ("due", "created", "completed")]
_DATE_OR_NONE = {dt.date, type(None)}
_MOST_DATES = 20_000
"""Dates that a worker keeps: the days of 55 years."""
_RESULT = attrgetter(*(n for n in ProcessingResult.__match_args__ if n not in {"partial", "seen"}))
_PARTIAL = ProcessingResult.__match_args__.index("partial")
_SEEN_AT = ProcessingResult.__match_args__.index("seen")
_SEEN = attrgetter(*WorkerSeen.__match_args__)
_SERIALISE = WorkerSeen.__match_args__.index("serialise_s")


class _Dates(dict[int | None, dt.date | None]):
    """Day number -> date. Used by the worker's thread alone."""

    def __missing__(self, day: int) -> dt.date:
        if len(self) > _MOST_DATES:
            self.clear()
            self[None] = None
        date = self[day] = dt.date.fromordinal(day)
        return date


_date_of = _Dates({None: None}).__getitem__


def pack_batches(batches: Sequence[Batch]) -> bytes:
    """Batches as bytes. Raises whatever a value that does not pickle raises."""
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
    """The batches again. Raises whatever a value that does not unpickle raises."""
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
        mine = tuple(tasks[at : at + count])
        batches.append(
            Batch(index, mine, first) if number is None else Part(index, mine, first, number)
        )
        at += count
    return batches


def pack_results(results: Sequence[ProcessingResult]) -> bytes:
    """Results as bytes. Raises whatever a value that does not pickle raises."""
    return pickle.dumps(
        [(_RESULT(each), dict(each.partial), _SEEN(each.seen)) for each in results], PROTOCOL
    )


def unpack_results(data: Any, serialise_s: float, return_s: float) -> list[ProcessingResult]:
    """The results again, with what their way back took, seconds a result, in what was seen."""
    results = []
    for values, partial, seen in pickle.loads(data):  # noqa: S301 - our own
        whole = list(values)
        whole.insert(_PARTIAL, partial)
        account: list[Any] = [*seen[:_SERIALISE], serialise_s, return_s]
        whole.insert(_SEEN_AT, WorkerSeen(*account))
        results.append(ProcessingResult(*whole))
    return results
