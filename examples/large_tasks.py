"""Write tasks with long titles as JSON Lines: ``python examples/large_tasks.py 500 8 large.jsonl``.

This example writes 500 tasks of 8 KiB each, which are expensive to copy to a process.
"""

import json
import sys
from pathlib import Path

from todobatch.sources import generate


def main(count: int, kib: int, path: Path) -> None:
    """Write `count` generated tasks, each title repeated to `kib` KiB."""
    with path.open("w", encoding="utf-8") as file:
        for task in generate(count):
            title = (f"{task.title} " * (kib * 1024 // len(task.title)))[: kib * 1024].strip()
            file.write(json.dumps({"title": title, "priority": task.priority}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
