"""The workload of the cases: short tasks, one of which may close random descriptors."""

import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

from todobatch import Task
from todobatch.processors import TaskBatchProcessor

TASK_S = 0.003
CLOSE = "TODOBATCH_CLOSE_DESCRIPTORS"
"""The environment variable that names a file. The task that finds the file closes descriptors; the
file has a seed."""


class Work(TaskBatchProcessor):
    """Gives back each title, and counts their letters."""

    name = "damaged-work"

    def process_task(self, task: Task) -> str:
        sleep(TASK_S)
        _close_descriptors(Path(os.environ[CLOSE]))
        return task.title.upper()

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Any]) -> dict[str, int]:
        del tasks
        return {"letters": sum(len(row) for row in rows if row)}

    def merge(self, left: Any, right: Any) -> dict[str, int]:
        return {"letters": left["letters"] + right["letters"]}


def _close_descriptors(order: Path) -> None:
    taken = order.with_suffix(".taken")
    try:
        order.rename(taken)  # one task takes it
    except FileNotFoundError:
        return
    dice = random.Random(taken.read_text())
    folder = "/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"  # noqa: PTH110
    numbers = sorted(int(name) for name in os.listdir(folder))  # noqa: PTH208
    for number in dice.sample(numbers, dice.randint(1, len(numbers))):
        with suppress(OSError):
            os.close(number)
