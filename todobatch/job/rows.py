"""Reads a file of rows: whether they are those of its job, and the last row of each task."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING

from todobatch.coordinator.ranges import Ranges

if TYPE_CHECKING:
    from todobatch.coordinator.journal import Journal

TAIL_BYTES = 4096
"""The journal holds a digest of this many bytes at the end of the file."""
_TASK = re.compile(rb'{"task": (\d{1,18}), ')


def are_rows(head: bytes) -> bool:
    """Return whether a file that begins with these bytes is one of rows, as far as they show.

    A run that was killed may have left a part of the first row only.
    """
    return _TASK.match(head) is not None


def holds_its_rows(file: IO[bytes], size: int, journal: "Journal") -> bool:
    """Return whether the first `size` bytes are the rows of the tasks that a journal saved.

    Rows of other batches would give their tasks two rows. Only a retry of failed tasks leaves two
    rows of a task, until the end of the job.
    """
    batch_size = journal.job.get("batch size")
    if not isinstance(batch_size, int):
        return True
    seen, pending = Ranges(), journal.failed.pending
    file.seek(0)
    while file.tell() < size:
        row = _TASK.match(file.readline())
        if row is None:
            return False
        number = int(row[1])
        batch = number // batch_size
        if batch not in journal.before and batch not in pending:
            return False
        if number not in seen:
            seen.add(number)
        elif not journal.replaced:
            return False
    return len(seen) == journal.saved_tasks + journal.failed.pending_tasks


def keep_last_rows(file: IO[bytes], new: Path) -> tuple[int, bytes]:
    """Write the last row of each task to the file `new`, and flush it to disk.

    Returns its size, and its last `TAIL_BYTES` bytes. Raises OSError.
    """
    seen, older = Ranges(), Counter[int]()
    file.seek(0)
    for line in file:
        number = _task_of(line)
        if number in seen:
            older[number] += 1
        else:
            seen.add(number)
    new.unlink(missing_ok=True)
    size, tail = 0, b""
    file.seek(0)
    with new.open("xb") as target:
        for line in file:
            number = _task_of(line)
            if older[number]:
                older[number] -= 1
                continue
            target.write(line)
            size += len(line)
            tail = (tail + line)[-TAIL_BYTES:]
        target.flush()
        os.fsync(target.fileno())
    return size, tail


def _task_of(line: bytes) -> int:
    row = _TASK.match(line)
    assert row is not None, "only rows were written"
    return int(row[1])
