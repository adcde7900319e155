"""`TaskValidator`: lists what is wrong with each task."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, cast

from todobatch.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, STATUSES, Json, Task
from todobatch.processors.base import TaskBatchProcessor
from todobatch.processors.recurrence import next_due

LONGEST_TITLE = 500
"""A title may have at most this many characters."""
HORIZON_YEARS = 50
"""A due date may be at most this many years from today."""


def problems_of(task: Task, today: dt.date) -> list[str]:
    """Return the problems of a task as phrases in a fixed order; empty if it is valid.

    A due date must not be before the task's creation, nor more than `HORIZON_YEARS` from `today`.
    """
    problems = []
    if not task.title.strip():
        problems.append("title is empty")
    elif len(task.title) > LONGEST_TITLE:
        problems.append(f"title is longer than {LONGEST_TITLE} characters")
    if not HIGHEST_PRIORITY <= task.priority <= LOWEST_PRIORITY:
        problems.append(f"priority is not between {HIGHEST_PRIORITY} and {LOWEST_PRIORITY}")
    if task.status not in STATUSES:
        problems.append("status is unknown")
    problems += _date_problems(task, today)
    if task.recurrence is not None:
        try:
            next_due(task.recurrence, task.due, today)
        except ValueError as error:
            beyond = isinstance(error.__cause__, OverflowError)
            problems.append(
                f"recurrence {'ends after the year 9999' if beyond else 'is not understood'}"
            )
    return problems


def _date_problems(task: Task, today: dt.date) -> list[str]:
    problems = []
    if task.due is not None:
        if abs(task.due.year - today.year) > HORIZON_YEARS:
            problems.append(f"due date is more than {HORIZON_YEARS} years away")
        if task.created is not None and task.due < task.created:
            problems.append("due before it was created")
    if task.created is not None and task.created > today:
        problems.append("created in the future")
    if task.completed is not None:
        if not task.done:
            problems.append("has a completion date but is not done")
        if task.created is not None and task.completed < task.created:
            problems.append("completed before it was created")
    return problems


class TaskValidator(TaskBatchProcessor):
    """Checks priority (1 to 10), dates, status and recurrence. A row is the list of problems."""

    name = "validate"
    summary_is_safe = True

    def process_task(self, task: Task) -> Json:
        """Return the task's problems, an empty list if it is valid."""
        return list(problems_of(task, self.today))

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Count valid tasks (``sound``), the others (``unsound``), and each problem."""
        del tasks
        problems = cast(Sequence[list[str]], rows)
        unsound = sum(map(bool, problems))
        counts: dict[str, Json] = {**Counter(chain.from_iterable(problems))}
        return {"sound": len(rows) - unsound, "unsound": unsound, "problems": counts}

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Return the counts, with the most frequent problem first."""
        problems = partial.get("problems", {})
        ordered = dict(sorted(problems.items(), key=lambda item: (-item[1], item[0])))
        return {**{key: partial.get(key, 0) for key in ("sound", "unsound")}, "problems": ordered}
