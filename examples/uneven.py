"""Tasks that take very different times: ``--workload examples.uneven:handle``.

A task waits 5 ms for each letter of its title, as for a slow service.
"""

import time

from todobatch import Task


def handle(task: Task) -> int:
    """How long the title is."""
    time.sleep(0.005 * len(task.title))
    return len(task.title)
