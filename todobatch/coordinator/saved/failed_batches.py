"""The batches of a journal in which tasks failed, with the rows of their other tasks.

So the failed tasks alone can be run again: the batch's result is made from its old rows and the new
ones. Each batch is one row of a table in the journal's file, in the same transaction as the totals.
"""

import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from todobatch.coordinator.ranges import Ranges
from todobatch.errors import UsageError
from todobatch.ipc.decoding import from_json, to_json, within
from todobatch.model import Json, ProcessingResult

if TYPE_CHECKING:
    import sqlite3  # not at run time: workers load this module

TABLE = (
    "CREATE TABLE failed (batch INTEGER PRIMARY KEY, tasks INTEGER NOT NULL, "
    "again INTEGER NOT NULL, content TEXT NOT NULL, sha256 TEXT NOT NULL)"
)
"""`tasks` is the size of the batch, and `again` how many of its tasks a retry runs."""

_Offset = Annotated[int, within(0, 2**31)]


@dataclass(frozen=True, slots=True)
class FailedBatch:
    """A batch in which tasks failed."""

    tasks: Annotated[int, within(0, 2**31)]
    """The number of its tasks."""
    failed: list[_Offset]
    """The places of the failed tasks in the batch, from 0 up, in order."""
    rows: list[Any] | None
    """One row for each task, None for a failed one. None when they are not known: then a retry runs
    the whole batch."""

    @property
    def again(self) -> int:
        """Return how many tasks a retry runs."""
        return self.tasks if self.rows is None else len(self.failed)


def failed_batch(result: ProcessingResult, first: int, *, keep_rows: bool) -> FailedBatch | None:
    """Return what the journal keeps of a batch's final result; None if no task failed.

    `first` is the position of the batch's first task. Rows are kept if `keep_rows`, and if the
    failures name all failed tasks and the rows are the same after they are saved and read again.
    """
    if result.success:
        return None
    failed = sorted({failure.task - first for failure in result.failures})
    rows: list[Json] | None = None if result.rows is None or not keep_rows else [*result.rows]
    if rows is not None and result.tasks_processed != result.tasks - len(failed):
        rows = None
    if rows is not None:
        with suppress(TypeError, ValueError, RecursionError):
            if json.loads(json.dumps(rows, allow_nan=False)) == rows:
                return FailedBatch(result.tasks, failed, rows)
    return FailedBatch(result.tasks, failed, None)


class FailedBatches:
    """The table of a journal. `damaged` makes the error for a table that cannot be true.

    `lock` guards the connection: the thread that reads the input calls `load`, the others are for
    the thread that saves.
    """

    def __init__(
        self, db: "sqlite3.Connection", lock: threading.Lock, damaged: Callable[[str], Exception]
    ) -> None:
        self._db = db
        self._lock = lock
        self._damaged = damaged
        self._changes: dict[int, FailedBatch | None] = {}
        self._any = False
        """Whether the table had batches when it was opened."""
        self.pending = Ranges()
        """The batches that are to be run again, and are not done."""
        self.pending_tasks = self.kept_tasks = 0
        """How many tasks pending batches have, and how many of these have their row already."""

    def open(self, done: Ranges) -> tuple[int, int]:
        """Read which batches are pending; return how many are done, and how many tasks they have.

        The caller holds no lock, because no other thread has the connection yet.
        """
        batches = tasks = 0
        self.pending, self.pending_tasks, self.kept_tasks = Ranges(), 0, 0
        for batch, size, again in self._db.execute(
            "SELECT batch, tasks, again FROM failed ORDER BY batch"
        ):
            if not all(type(each) is int for each in (batch, size, again)) or batch < 0:
                raise self._damaged("the numbers of its failed batches are invalid")
            if not 0 <= again <= size:
                raise self._damaged("more tasks failed than a batch has")
            self._any = True
            if batch in done:
                batches, tasks = batches + 1, tasks + size
            else:
                self.pending.add(batch)
                self.pending_tasks += size
                self.kept_tasks += size - again
        return batches, tasks

    def every(self) -> list[int]:
        """Return all batches of the table, in order."""
        return [batch for (batch,) in self._db.execute("SELECT batch FROM failed ORDER BY batch")]

    def note(self, batch: int, failed: FailedBatch | None) -> None:
        """Record that a batch is done, and what failed in it; `write` saves it."""
        if failed is not None or self._any or batch in self._changes:
            self._changes[batch] = failed

    def write(self) -> None:
        """Write what was noted, within the transaction of the caller, who holds the lock."""
        for batch, failed in self._changes.items():
            if failed is None:
                self._db.execute("DELETE FROM failed WHERE batch = ?", (batch,))
                continue
            text = json.dumps(to_json(failed))
            self._db.execute(
                "INSERT OR REPLACE INTO failed VALUES (?, ?, ?, ?, ?)",
                (batch, failed.tasks, failed.again, text, _seal(batch, text)),
            )

    def written(self) -> None:
        """Forget what was noted, because it has been committed."""
        self._any = self._any or any(self._changes.values())
        self._changes.clear()

    def load(self, batch: int, size: int) -> FailedBatch | None:
        """Return what is known of a pending batch with `size` tasks; None for any other batch."""
        if batch not in self.pending:
            return None
        with self._lock:
            row = self._db.execute(
                "SELECT tasks, again, content, sha256 FROM failed WHERE batch = ?", (batch,)
            ).fetchone()
        try:
            if row is None or _seal(batch, row[2]) != row[3]:
                raise self._damaged(f"the failed batch {batch} was changed after it was saved")
            found = from_json(FailedBatch, json.loads(row[2]))
        except (UsageError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self._damaged(f"the failed batch {batch} cannot be read") from error
        failed, rows = found.failed, found.rows
        wrong = found.tasks != size or row[:2] != (found.tasks, found.again)
        wrong |= failed != sorted(set(failed)) or any(place >= size for place in failed)
        wrong |= rows is not None and (len(rows) != size or not failed)
        if wrong:
            raise self._damaged(f"the failed batch {batch} contradicts itself")
        return found


def _seal(batch: int, text: str) -> str:
    return hashlib.sha256(f"{batch}\n{text}".encode()).hexdigest()


def ranges_of(places: list[int]) -> list[tuple[int, int]]:
    """Return each run of consecutive places as its first and the one after its last."""
    found = Ranges()
    for place in places:
        found.add(place)
    return found.pairs()
