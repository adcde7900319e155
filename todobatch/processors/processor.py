"""`TaskProcessor`: computes the state that each task should have today."""

import datetime as dt
from collections.abc import Mapping, Sequence

from todobatch.model import HIGHEST_PRIORITY, Json, Task
from todobatch.processors.base import TaskBatchProcessor
from todobatch.processors.recurrence import next_due

MILLI = 1000
"""Urgency is stored in thousandths, as a whole number."""


def urgency_milli(task: Task, today: dt.date) -> int:
    """Return the urgency in rounded thousandths, so sums are exact in any order; 0 if done.

    Source: Taskwarrior's urgency polynomial with its default coefficients (due 12, priority 6, 3.9,
    1.8, project 1, tags 1, age 2, waiting -3). The ten priorities replace its three.
    """
    if task.done:
        return 0
    # From 6.0 for priority 1, in equal steps down to 0.6 for priority 10.
    urgency = 0.6 * (11 - min(max(task.priority, 1), 10))
    if task.due is not None:
        urgency += 12.0 * _due_part((today - task.due).days)
    if task.projects:
        urgency += 1.0
    urgency += (0.0, 0.8, 0.9, 1.0)[min(len(task.contexts), 3)]
    if task.created is not None:
        urgency += 2.0 * min(max((today - task.created).days, 0), 365) / 365
    if task.status == "waiting":
        urgency -= 3.0
    return round(urgency * MILLI)


def _due_part(days_over: int) -> float:
    """Return 0.2 two weeks or more before the due date, rising to 1.0 a week after it."""
    if days_over >= 7:
        return 1.0
    if days_over <= -14:
        return 0.2
    return (days_over + 14) * 0.8 / 21 + 0.2


def transition(task: Task, today: dt.date) -> tuple[str, int]:
    """Return the status and priority that a task should have today.

    A task that is done is completed. A task past its due date is overdue and gains one step of
    priority, two after a week. Any other task keeps its status.
    """
    if task.done:
        return "completed", task.priority
    if task.due is not None and task.due < today:
        steps = 2 if (today - task.due).days > 7 else 1
        return "overdue", max(task.priority - steps, HIGHEST_PRIORITY)
    return ("pending" if task.status in {"completed", "overdue"} else task.status), task.priority


class TaskProcessor(TaskBatchProcessor):
    """Computes state, urgency and recurrence of each task. A row is the task's new state."""

    name = "process"
    summary_is_safe = True

    def process_task(self, task: Task) -> Json:
        """Return ``{status, priority, urgency, next_due?}``, with the urgency in thousandths.

        Raises ValueError when a finished task's recurrence is not understood.
        """
        status, priority = transition(task, self.today)
        row: dict[str, Json] = {
            "status": status,
            "priority": priority,
            "urgency": urgency_milli(task, self.today),
        }
        if task.done and task.recurrence is not None:
            finished = task.completed or self.today
            row["next_due"] = next_due(task.recurrence, task.due, finished).isoformat()
        return row

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Count tasks by status, those whose state changed, and those that recur."""
        statuses: dict[str, int] = {}
        moved = again = 0
        for task, row in zip(tasks, rows, strict=True):
            assert isinstance(row, dict)
            status = str(row["status"])
            statuses[status] = statuses.get(status, 0) + 1
            moved += (status, row["priority"]) != (task.status, task.priority)
            again += "next_due" in row
        return {"statuses": dict(statuses), "moved": moved, "come_again": again}
