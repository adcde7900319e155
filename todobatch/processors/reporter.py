"""`TaskReporter`: counts tasks and computes completion rates, in parts that merge in any order."""

from collections.abc import Mapping, Sequence
from typing import Any

from todobatch.model import Json, Task
from todobatch.processors.base import TaskBatchProcessor, merge_counts
from todobatch.processors.processor import MILLI, urgency_milli

MOST_URGENT_KEPT = 10
"""A report lists this many of the most urgent tasks."""


class TaskReporter(TaskBatchProcessor):
    """Counts tasks by priority, project and context, and lists the most urgent.

    A row is the task's urgency in thousandths. The aggregate holds only whole numbers and a list
    with a total order, so partial reports merge exactly, in any order and grouping.
    """

    name = "report"
    summary_is_safe = True

    def process_task(self, task: Task) -> Json:
        """Return the task's urgency in thousandths."""
        return urgency_milli(task, self.today)

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Count the batch's tasks and list the most urgent ones."""
        whole: dict[str, Any] = {
            "tasks": len(tasks),
            "done": sum(task.done for task in tasks),
            "overdue": sum(
                task.due is not None and not task.done and task.due < self.today for task in tasks
            ),
            "urgency": sum(row for row in rows if isinstance(row, int)),
            "priorities": {},
            "projects": {},
            "contexts": {},
        }
        for task in tasks:
            _count(whole["priorities"], str(task.priority), done=task.done)
            for project in task.projects:
                _count(whole["projects"], project, done=task.done)
            for context in task.contexts:
                _count(whole["contexts"], context, done=task.done)
        whole["most_urgent"] = _most_urgent(
            [urgency, task.title]
            for urgency, task in zip(rows, tasks, strict=True)
            if not task.done
        )
        return whole

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Add the counts and keep the most urgent of both lists."""
        merged = merge_counts(_without_list(a), _without_list(b))
        merged["most_urgent"] = _most_urgent([*a.get("most_urgent", ()), *b.get("most_urgent", ())])
        return merged

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Turn counts into rates; ``completion_rate`` is done ÷ tasks, overall and by group."""
        tasks = partial.get("tasks", 0)
        report: dict[str, Any] = {
            "tasks": tasks,
            "done": partial.get("done", 0),
            "overdue": partial.get("overdue", 0),
            "completion_rate": partial.get("done", 0) / tasks if tasks else None,
            "mean_urgency": partial.get("urgency", 0) / MILLI / tasks if tasks else None,
            "most_urgent": [
                {"urgency": urgency / MILLI, "title": title}
                for urgency, title in partial.get("most_urgent", ())
            ],
        }
        for group in ("priorities", "projects", "contexts"):
            report[group] = {
                key: {**counts, "completion_rate": counts["done"] / counts["tasks"]}
                for key, counts in sorted(partial.get(group, {}).items(), key=_by_number_or_name)
            }
        return report


def _count(group: dict[str, dict[str, int]], key: str, *, done: bool) -> None:
    counts = group.setdefault(key, {"tasks": 0, "done": 0})
    counts["tasks"] += 1
    counts["done"] += done


def _most_urgent(entries: Any) -> list[list[Any]]:
    return sorted(entries, key=lambda entry: (-entry[0], entry[1]))[:MOST_URGENT_KEPT]


def _without_list(partial: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in partial.items() if key != "most_urgent"}


def _by_number_or_name(item: tuple[str, Any]) -> tuple[int, str]:
    name = item[0]
    is_number = name.isdecimal() and len(name) <= 18  # Python limits the digits of a number
    return (int(name) if is_number else 0, name)
