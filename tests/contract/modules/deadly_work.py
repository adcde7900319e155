"""Processors that kill or hang their worker at a certain task, in a module that workers import."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence

from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors import TaskBatchProcessor


class Deadly(TaskBatchProcessor):
    """Does to its worker what the title says."""

    name = "deadly"

    def process_task(self, task: Task) -> Json:
        if task.title == "hang":
            threading.Event().wait()
        if task.title == "kill after others":  # its own batch has fewer tasks
            self.process_batch([Task("inner")] * 50)
        if task.title == "fork" and os.fork() == 0:
            self.process_batch([Task("inner")] * 50)
            return "the child ends here"
        if task.title == "fork":
            os.wait()
        if task.title.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        return task.title


class DeadlySummary(Deadly):
    """Kills or hangs its worker after the last task."""

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        if "hang at the end" in rows:
            threading.Event().wait()
        if "die at the end" in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"rows": len(rows)}


class OwnLoop(Deadly):
    """Has a `process_batch` of its own, whose tasks the framework cannot know."""

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return super().process_batch(tasks)


def handle(task: Task) -> Json:
    """Do what the title says: a plain function as a workload."""
    return Deadly().process_task(task)


async def handle_async(task: Task) -> Json:
    """Do what the title says: the event loop runs the whole batch."""
    return handle(task)
