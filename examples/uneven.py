"""Tasks whose times differ widely: ``--workload examples.uneven:handle``.

Each task waits 5 ms for each letter of its title, as if for a slow service.
"""

import time

from todobatch import Task


def handle(task: Task) -> int:
    """Return the length of the title."""
    time.sleep(0.005 * len(task.title))
    return len(task.title)
