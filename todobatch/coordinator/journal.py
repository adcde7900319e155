"""What has been done, in an SQLite file: a run that was killed goes on where it was.

    results ─► rows to the output file ─► (now and then) flush the file to disk, then commit here:
               which batches are done, the totals, how long the output file is

The order is what counts. The output's length is committed after the output itself is on the disk,
so a run that is killed at any moment finds at least as much in the file as the journal says. What
stands beyond that is cut off, its batches are run again, and each row is there once.

Results are committed in groups. A group is closed when so much time has passed that all commits so
far and the next one, with their waiting for the disk, come to `SHARE` of it; never sooner than
`SHORTEST_S` after the last one, and never later than `LONGEST_S`.
The journal is one row that is replaced: done batches are ranges, and the totals do not grow with
the tasks, so that file and memory stay small however many tasks there are.

The file is locked by SQLite while a run has it open; the lock ends with the process. Used by one
thread.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Self

from todobatch.coordinator.ranges import Ranges
from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.model import Json
from todobatch.units import Seconds

APPLICATION_ID = 0x746F646F  # 'todo': what makes an SQLite file one of ours
SCHEMA = 1
SHARE = 0.03
SHORTEST_S: Seconds = 0.05
LONGEST_S: Seconds = 5.0
WAIT_FOR_LOCK_S: Seconds = 3.0
"""A run that was just killed may take a moment to let the file go."""
MAY_DIFFER = frozenset({"today", "input"})
"""`today` is taken from the journal, and an input is known by its content, wherever it lies."""

Phase = Literal["running", "placing", "finished"]
on_step: Callable[[str], None] = lambda _step: None  # noqa: E731 - replaced by tests
"""Called before each step that changes a file, with its name: where tests kill the process."""


class Journal:
    """One job's journal, open and locked. Use as a context manager.

    `job` says what the job is; a journal of another one is refused with the differences named.
    `mark_output`, when set, brings the output to the disk and says how long it is.

    Raises UsageError for another job's journal; StoreError for a file that is no journal, is
    broken, cannot be written or is being written by another run; NewerSchemaError.
    """

    def __init__(self, path: Path | str, job: Mapping[str, Json]) -> None:
        self.path = Path(path)
        self.mark_output: Callable[[], dict[str, Json]] | None = None
        self.job: dict[str, Any] = dict(job)
        self.phase: Phase = "running"
        self.output: dict[str, Any] | None = None
        """Length and tail of the output when the journal was last saved; None before that."""
        self.tally: dict[str, Any] | None = None
        """The totals then; None in a new journal."""
        self.runs = 1
        """How often the job was begun or gone on with, this time included."""
        self.saves = 0
        self.save_s: Seconds = 0.0
        """What saving took in all."""
        self._done = Ranges()
        self._saved_tasks = 0
        self._news = False
        self._begun = perf_counter()
        self._next = self._begun + SHORTEST_S
        if self.path.is_dir():
            raise UsageError(
                "it is a folder", place=f"--journal {path}", remedy="name a file in it"
            )
        try:
            self._db = sqlite3.connect(self.path, timeout=WAIT_FOR_LOCK_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise
        self.before = Ranges(self._done.pairs())
        """The batches that were done when it was opened. It does not change."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def saved_tasks(self) -> int:
        """Tasks that it says are done, by this run and earlier ones."""
        return self._saved_tasks

    def close(self) -> None:
        """Let the file go. What was not saved is not in it."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def note(self, batch: int) -> None:
        """A batch is settled, and its rows are in the output. Raises StoreError the second time."""
        self._news = True
        try:
            self._done.add(batch)
        except ValueError as error:
            raise StoreError(
                f"batch {batch} came in twice",
                place=str(self.path),
                remedy="this is a bug: please report it; the journal is as it was saved last",
            ) from error

    def due(self) -> bool:
        """Whether it is time to save, and there is something to."""
        return self._news and perf_counter() >= self._next

    def save(self, tally: Mapping[str, Any], *, phase: Phase = "running") -> None:
        """Bring the output to the disk, then commit what is done. Raises StoreError."""
        begun = perf_counter()
        self.output = None if self.mark_output is None else self.mark_output()
        self.phase, self.tally = phase, dict(tally)
        self._write()
        self._news = False
        self.saves += 1
        self._saved_tasks = int(tally.get("tasks", 0))
        took = perf_counter() - begun
        self.save_s += took
        now = perf_counter()
        cheap = self._begun + (self.save_s + took) / SHARE
        self._next = min(max(cheap, now + SHORTEST_S), now + LONGEST_S)

    def advance(self, phase: Phase) -> None:
        """Say how far the end of the job has come: output being placed, all finished."""
        if self.phase != phase:
            self.phase = phase
            self._write()

    def _open(self) -> None:
        try:
            on_step("lock")
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            on_step("begin")
            self._db.execute("BEGIN IMMEDIATE")  # from here on it is locked
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
                    place=str(self.path),
                    remedy="go on with the todobatch that wrote it, or name another --journal",
                )
            else:
                raise self._foreign("it is a database of something else")
            on_step("commit")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._refusal(error) from error
        except (LookupError, TypeError, ValueError) as error:  # text or JSON that is not ours
            raise self._foreign("it is damaged") from error

    def _create(self) -> None:
        on_step("create")
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        self._db.execute(
            "CREATE TABLE journal (id INTEGER PRIMARY KEY CHECK (id = 1), job TEXT NOT NULL, "
            "state TEXT NOT NULL, sha256 TEXT NOT NULL)"
        )
        on_step("first")
        self._put()

    def _load(self) -> None:
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        row = self._db.execute("SELECT job, state, sha256 FROM journal").fetchone()
        if problem != "ok" or row is None or _sha256(row[0], row[1]) != row[2]:
            raise self._foreign("it is damaged")
        job, state = json.loads(row[0]), json.loads(row[1])
        differences = [
            f"{name} was {_show(job.get(name))} and is {_show(self.job.get(name))}"
            for name in sorted(job.keys() | self.job.keys())
            if name not in MAY_DIFFER and job.get(name) != self.job.get(name)
        ]
        if differences:
            raise UsageError(
                f"it is the journal of another job: {'; '.join(differences)}",
                place=f"--journal {self.path}",
                remedy="give the options that the job was begun with, or name another --journal",
            )
        self.job = job
        self.phase, self.tally, self.output = state["phase"], state["tally"], state["output"]
        self.runs = state["runs"] + 1
        self._done = Ranges((start, end) for start, end in state["done"])
        self._saved_tasks = int((self.tally or {}).get("tasks", 0))

    def _write(self) -> None:
        try:
            on_step("begin")
            self._db.execute("BEGIN IMMEDIATE")
            on_step("state")
            self._put()
            on_step("commit")
            self._db.execute("COMMIT")
            on_step("committed")
        except sqlite3.Error as error:
            raise self._refusal(error) from error

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

    def _foreign(self, cause: str) -> StoreError:
        return StoreError(
            f"cannot be gone on with: {cause}",
            place=f"--journal {self.path}",
            remedy="name another file; to begin the job anew, remove this one if it is yours",
        )

    def _refusal(self, error: sqlite3.Error) -> StoreError:
        name = getattr(error, "sqlite_errorname", "")
        place = f"--journal {self.path}"
        if name in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
            return self._foreign(f"{error}")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(
                "another run is writing it",
                place=place,
                remedy="wait until that one has ended, or end it, and run the same command again",
            )
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            return StoreError(
                f"cannot be opened for writing: {error}",
                place=place,
                remedy="name a file in a folder that exists and is yours: SQLite puts a second "
                "file beside it",
            )
        return StoreError(
            f"cannot be written: {error}; {self._saved_tasks} tasks are saved",
            place=place,
            remedy="make room, and run the same command again: it goes on where it was",
        )


def saved_tasks(path: Path | str) -> int | None:
    """How many tasks a journal that no run has open says are done; None where it does not tell."""
    try:
        db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S)
        try:
            state = db.execute("SELECT state FROM journal").fetchone()[0]
        finally:
            db.close()
        return int((json.loads(state)["tally"] or {}).get("tasks", 0))
    except (sqlite3.Error, LookupError, TypeError, ValueError):
        return None


def _sha256(job: str, state: str) -> str:
    return hashlib.sha256(f"{job}\n{state}".encode()).hexdigest()


def _show(value: Any) -> str:
    return "not set" if value is None else repr(value)
