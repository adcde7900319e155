"""Saves a job's progress in an SQLite file, so that a killed run can be resumed.

    results ─► rows to the output file ─► (now and then) flush that file to disk, then commit here:
               which batches are done, the totals, how long the output file is

The order matters. The output is on disk before its length is committed. So the file of a killed run
has at least the rows that the journal knows. A resumed run removes the others and runs their
batches again. So each row occurs once.

Results are committed in groups. A commit waits until all commits together take at most `SHARE` of
the time; `SHORTEST_S` and `LONGEST_S` bound the wait. The journal is one row that is replaced. Done
batches are ranges, and the totals do not grow with the tasks, so file and memory stay small.

SQLite locks the file while a run has it open; the lock ends with the process.
"""

import datetime as dt
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal, Self

from todobatch.coordinator.ranges import Ranges
from todobatch.coordinator.tally import Count, Totals
from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.ipc.decoding import from_json, within
from todobatch.model import Json
from todobatch.units import Ratio, Seconds

__all__ = ["Journal", "saved_tasks"]

APPLICATION_ID = 0x746F646F
"""The application id that marks an SQLite file as a journal: the bytes of 'todo'."""
SCHEMA = 1
SHARE: Ratio = 0.03
SHORTEST_S: Seconds = 0.05
LONGEST_S: Seconds = 5.0
WAIT_FOR_LOCK_S: Seconds = 3.0
"""Opening waits this many seconds for the lock, because a run that was just killed may hold it."""
MAY_DIFFER = frozenset({"today", "input"})
"""Fields of a job that may differ when it is resumed; the input is compared by its content."""

Phase = Literal["running", "placing", "finished"]

_TABLE = (
    "CREATE TABLE journal (id INTEGER PRIMARY KEY CHECK (id = 1), job TEXT NOT NULL, "
    "state TEXT NOT NULL, sha256 TEXT NOT NULL)"
)


@dataclass(frozen=True, slots=True)
class _State:
    """The column `state`."""

    phase: Phase
    done: list[tuple[Count, Count]]
    tally: dict[str, Any] | None
    output: dict[str, Any] | None
    runs: Annotated[int, within(1, 2**31)]


class Journal:
    """One job's journal, open and locked. Use as a context manager.

    `job` describes the job. A journal of another job is refused, with the differences named. Set
    `mark_output` to a function that flushes the output to disk and returns its length.

    Raises UsageError for another job's journal and NewerSchemaError for a newer one. Raises
    StoreError for a file that is not a journal, is damaged, cannot be written, or is in use.
    """

    def __init__(self, path: Path | str, job: Mapping[str, Json]) -> None:
        self.path = Path(path)
        self.mark_output: Callable[[], dict[str, Json]] | None = None
        self.job: dict[str, Any] = dict(job)
        self.phase: Phase = "running"
        self.output: dict[str, Any] | None = None
        """What `mark_output` returned at the latest commit; None before that."""
        self.tally: dict[str, Any] | None = None
        """The totals at the latest commit; None in a new journal."""
        self.runs = 1
        """How many times the job was begun or resumed, this time included."""
        self.save_s: Seconds = 0.0
        """How long saving took in all."""
        self._done = Ranges()
        self.saved_tasks = 0
        """How many tasks are saved as done, in this run and earlier ones."""
        self._unsaved = False
        self._begun = perf_counter()
        self._next = self._begun + SHORTEST_S
        if self.path.is_dir():
            raise UsageError(
                "it is a folder", place=f"`journal` {path}", remedy="name a file in that folder"
            )
        if self.path.exists() and not self.path.is_file():
            raise UsageError(
                "it is not a regular file", place=f"`journal` {path}", remedy="name another file"
            )
        if why := _why_unfit(self.path):
            raise self._unusable(why)
        try:
            self._db = sqlite3.connect(self.path, timeout=WAIT_FOR_LOCK_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise
        self.before = Ranges(self._done.pairs())
        """The batches that were done when the journal was opened. It does not change."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close and unlock the file, without saving. Raises StoreError."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def note(self, batch: int) -> None:
        """Record a batch as done: its rows are in the output. Raises StoreError for a duplicate."""
        self._unsaved = True
        try:
            self._done.add(batch)
        except ValueError as error:
            raise StoreError(
                f"the result of batch {batch} came in twice",
                place=str(self.path),
                remedy="please report this bug; the journal has what was saved before",
            ) from error

    def due(self) -> bool:
        """Return whether it is time to save, and there is something to save."""
        return self._unsaved and perf_counter() >= self._next

    def save(self, tally: Mapping[str, Any], *, phase: Phase = "running") -> None:
        """Flush the output to disk, then commit what is done. Raises StoreError."""
        begun = perf_counter()
        self.output = None if self.mark_output is None else self.mark_output()
        self.phase, self.tally = phase, dict(tally)
        self._write()
        self._unsaved = False
        self.saved_tasks = int(tally.get("tasks", 0))
        took = perf_counter() - begun
        self.save_s += took
        now = perf_counter()
        cheap = self._begun + (self.save_s + took) / SHARE
        self._next = min(max(cheap, now + SHORTEST_S), now + LONGEST_S)

    def advance(self, phase: Phase) -> None:
        """Commit the next phase at the end of the job. Raises StoreError."""
        if self.phase != phase:
            self.phase = phase
            self._write()

    def _open(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")  # from here on the file is locked
            kind = self._db.execute("PRAGMA application_id").fetchone()[0]
            schema = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if kind == 0 and empty:
                self._create()
            elif kind == APPLICATION_ID and schema == SCHEMA:
                self._load()
            elif kind == APPLICATION_ID:
                raise NewerSchemaError(
                    f"it has schema {schema}, and this todobatch knows {SCHEMA}",
                    place=f"`journal` {self.path}",
                    remedy="resume with the todobatch that wrote it, or name another file",
                )
            else:
                raise self._unusable("it is a database of another program")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error
        except (LookupError, TypeError, ValueError, RecursionError) as error:  # not a journal's
            raise self._unusable("it is damaged") from error

    def _create(self) -> None:
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        self._db.execute(_TABLE)
        self._put()

    def _load(self) -> None:
        tables = self._db.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        if tables != [("table", "journal", _TABLE)]:  # a view or a trigger would run code
            raise self._unusable("its tables are not those of a journal")
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        row = self._db.execute("SELECT job, state, sha256 FROM journal").fetchone()
        if problem != "ok" or row is None or _sha256(row[0], row[1]) != row[2]:
            raise self._unusable("it is damaged")
        job, raw = json.loads(row[0]), json.loads(row[1])
        if not isinstance(job, dict):
            raise self._unusable("it is damaged")
        differences = [
            f"{name} was {_show(job.get(name))} and is {_show(self.job.get(name))}"
            for name in sorted(job.keys() | self.job.keys())
            if name not in MAY_DIFFER and job.get(name) != self.job.get(name)
        ]
        if differences:
            raise UsageError(
                f"it is the journal of another job: {'; '.join(differences)}",
                place=f"`journal` {self.path}",
                remedy="give the same job as before, or name another file",
            )
        try:
            state = from_json(_State, raw)
            totals = None if state.tally is None else from_json(Totals, state.tally)
        except UsageError as error:
            raise self._unusable(f"it is damaged: {error.place}: {error.cause}") from error
        self._done = Ranges(state.done)
        self._refuse_contradictions(job, totals, state.output)
        self.job = job
        self.phase, self.tally, self.output = state.phase, state.tally, state.output
        self.runs = state.runs + 1
        self.saved_tasks = totals.tasks if totals else 0

    def _refuse_contradictions(
        self, job: Mapping[str, Any], totals: Totals | None, output: Any
    ) -> None:
        """Raise StoreError if what the journal says cannot be true."""
        batches, tasks = (totals.batches, totals.tasks) if totals else (0, 0)
        size = job.get("batch size")
        wrong = batches != len(self._done) or (totals is not None and totals.failed > tasks)
        if isinstance(size, int) and batches:
            wrong |= not (batches - 1) * size < tasks <= batches * size
        wrong |= totals is not None and output is None and job.get("output") is not None
        if "today" in self.job:
            dt.date.fromisoformat(job["today"])
        if wrong:
            raise self._unusable("it is damaged: batches, tasks and output do not agree")

    def _write(self) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._put()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _put(self) -> None:
        job = json.dumps(self.job, sort_keys=True)
        state = {
            "phase": self.phase,
            "done": self._done.pairs(),
            "tally": self.tally,
            "output": self.output,
            "runs": self.runs,
        }
        text = json.dumps(state)
        self._db.execute(
            "INSERT OR REPLACE INTO journal (id, job, state, sha256) VALUES (1, ?, ?, ?)",
            (job, text, _sha256(job, text)),
        )

    def _unusable(self, cause: str) -> StoreError:
        return StoreError(
            f"cannot be resumed: {cause}",
            place=f"`journal` {self.path}",
            remedy="name another file; or remove this one if it is yours, to begin the job anew",
        )

    def _failed(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        place = f"`journal` {self.path}"
        if name in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
            return self._unusable(f"{error}")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(
                "another run is writing it",
                place=place,
                remedy="wait until that run has ended, or end it; then run the same job again",
            )
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return StoreError(
                f"cannot be opened for writing: {error}",
                place=place,
                remedy="name a file in a folder where you may create files: SQLite puts a second "
                "file beside it",
            )
        return StoreError(
            f"cannot be written: {error}; {self.saved_tasks} tasks are saved",
            place=place,
            remedy="free disk space and run the same job again: it resumes",
        )


def saved_tasks(path: Path | str) -> int | None:
    """Return how many tasks a closed journal has saved; None if it cannot be read."""
    try:
        if _why_unfit(Path(path)):
            return None
        db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S)
        try:
            state = db.execute("SELECT state FROM journal").fetchone()[0]
        finally:
            db.close()
        return int((json.loads(state)["tally"] or {}).get("tasks", 0))
    except (
        OSError, sqlite3.Error, LookupError, TypeError, ValueError, AttributeError, RecursionError,
    ):  # fmt: skip
        return None


def _why_unfit(path: Path) -> str | None:
    """Return why SQLite must not even open a file; None for a journal and for a new file.

    SQLite plays a rollback journal back when it opens a database, and deletes the file that this
    journal names. It also changes a database of another program. Our journals have a write-ahead
    log, so a rollback journal is ours only beside an empty file, after a kill.
    """
    kind, pages = 0, 0
    if path.exists() and path.stat().st_size:
        # SQLite itself looks, because closing a file of our own would unlock it for this process
        # (fcntl(2)). It neither locks nor changes nor plays back a file that is called immutable.
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            # A full disk can leave fewer pages than the first one says; the log has the others.
            db.execute("PRAGMA writable_schema = ON")
            kind = db.execute("PRAGMA application_id").fetchone()[0]
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        except (sqlite3.Error, ValueError):  # ValueError: a damaged name in the error's text
            return "it is not a journal, or it is damaged"
        finally:
            db.close()
    rollback = Path(f"{path}-journal")
    if os.path.lexists(rollback):
        if pages or not rollback.is_file() or rollback.is_symlink():
            return f"there is a file {rollback.name} beside it, which todobatch does not write"
        rollback.unlink()
    # The first commit of a new journal may still be in its log.
    new = kind == 0 and pages <= 1
    return None if new or kind == APPLICATION_ID else "it is a database of another program"


def _sha256(job: str, state: str) -> str:
    return hashlib.sha256(f"{job}\n{state}".encode()).hexdigest()


def _show(value: Any) -> str:
    return "not set" if value is None else repr(value)
