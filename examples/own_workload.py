"""A workload of your own: ``--workload examples.own_workload:slug``."""

import re

from todobatch import Task


def slug(task: Task) -> str:
    """Return the title as it would be in a URL. A title without letters fails."""
    words = re.findall(r"[a-z0-9]+", task.title.lower())
    if not words:
        raise ValueError("the title has no letters or digits")
    return "-".join(words)
