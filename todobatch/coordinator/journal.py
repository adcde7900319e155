"""Saves a job's progress in an SQLite file, so that a killed run can be resumed.

    results ─► rows to the output file ─► (now and then) flush that file to disk, then commit here:
               which batches are done, the totals, how long the output file is

The order matters. The output is on disk before its length is committed. So the file of a killed run
has at least the rows that the journal knows. A resumed run removes the others and runs their
batches again. So each row occurs once.

Results are committed in groups. A commit waits until all commits together take at most `SHARE` of
the time; `SHORTEST_S` and `LONGEST_S` bound the wait. The journal is one row that is replaced. Done
batches are ranges, and the totals do not grow with the tasks, so file and memory stay small. Only
`failed_batches` keeps something for each batch in which tasks failed.

SQLite locks the file while a run has it open; the lock ends with the process.
"""

import datetime as dt
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal, Self

from todobatch.coordinator.ranges import Ranges
from todobatch.coordinator.saved import failed_batches
from todobatch.coordinator.saved.failed_batches import FailedBatch, FailedBatches
from todobatch.coordinator.saved.journal_file import (
    APPLICATION_ID,
    WAIT_FOR_LOCK_S,
    failed,
    not_retriable,
    other_code,
    refuse_unfit,
    saved_tasks,
    unusable,
)
from todobatch.coordinator.tally import Count, Totals, without_failed
from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.files import exists
from todobatch.ipc.decoding import from_json, within
from todobatch.model import Json
from todobatch.units import Ratio, Seconds

__all__ = ["Journal", "saved_tasks"]

SCHEMA = 2
"""Since schema 2 a journal has what a retry of failed tasks needs. Schema 1 is read too."""
SHARE: Ratio = 0.03
SHORTEST_S: Seconds = 0.05
LONGEST_S: Seconds = 5.0
MAY_DIFFER = frozenset({"today", "input", "code"})
"""Fields of a job that may differ when it is resumed: the input is compared by its content, and
changed code may be allowed."""

Phase = Literal["running", "retrying", "placing", "finished"]
"""A job is "running" until all is done, "placing" while its output gets its name, then "finished".

A finished job whose failed tasks run again is "retrying"."""

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
    codes: Annotated[int, within(1, 2**31)] = 1
    retriable: bool = False
    replaced: bool = False
    report: dict[str, Any] | None = None


class Journal:
    """One job's journal, open and locked. Use as a context manager.

    `job` describes the job. A journal of another job is refused, with the differences named, unless
    nothing is done yet. ``job["code"]`` maps the modules of the workload to digests. If one has
    changed, the journal is refused too. There are two exceptions: `changed_code` is "keep", or
    `retry_failed` is set and the job is finished. Set `mark_output` to a function that flushes the
    output to disk and returns its length.

    Raises UsageError for another job's journal and NewerSchemaError for a newer one. Raises
    StoreError for a file that is not a journal, is damaged, cannot be written, or is in use.
    """

    def __init__(
        self,
        path: Path | str,
        job: Mapping[str, Json],
        *,
        changed_code: Literal["stop", "keep"] = "stop",
        retry_failed: bool = False,
    ) -> None:
        self.path = Path(path)
        self._keep_code, self._retry = changed_code == "keep", retry_failed
        self.mark_output: Callable[[], dict[str, Json]] | None = None
        self.job: dict[str, Any] = dict(job)
        self.phase: Phase = "running"
        self.output: dict[str, Any] | None = None
        """What `mark_output` returned at the latest commit; None before that."""
        self.tally: dict[str, Any] | None = None
        """The totals at the latest commit; None in a new journal."""
        self.runs = 1
        """How many times the job was begun or resumed, this time included."""
        self.changed_code: list[str] = []
        """The modules of the workload that have changed since the run before."""
        self.codes = 1
        """How many versions of the code the job has run with."""
        self.retriable = True
        """Whether the failed tasks are known; False if an older todobatch began the job."""
        self.replaced = False
        """Whether the output may hold several rows of a task. The last one is to be kept."""
        self.report: dict[str, Any] | None = None
        """What `finish` saved."""
        self.save_s: Seconds = 0.0
        """How long saving took in all."""
        self._done = Ranges()
        self.saved_tasks = 0
        """How many tasks are saved as done, in this run and earlier ones."""
        self._unsaved = False
        self._begun = perf_counter()
        self._next = self._begun + SHORTEST_S
        refuse_unfit(self.path)
        self._lock = threading.Lock()  # guards `_db`, which the reader of the input uses too
        try:
            self._db = sqlite3.connect(
                self.path, timeout=WAIT_FOR_LOCK_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise failed(self.path, error, self.saved_tasks) from error
        self.failed = FailedBatches(self._db, self._lock, self.damaged)
        try:
            self._open()
        except BaseException:
            self._db.close()
            raise
        self.before = Ranges(self._done.pairs())
        """The batches that were done when the run began. It does not change during the run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close and unlock the file, without saving. Raises StoreError."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise failed(self.path, error, self.saved_tasks) from error

    @property
    def unfinished(self) -> bool:
        """Whether batches may be left to do."""
        return self.phase in {"running", "retrying"}

    def note(self, batch: int, failed: FailedBatch | None = None) -> None:
        """Record a batch as done: its rows are in the output. Raises StoreError for a duplicate.

        `failed` is what `failed_batch` returned for it.
        """
        self._unsaved = True
        self.failed.note(batch, failed)
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

    def save(self, tally: Mapping[str, Any]) -> None:
        """Flush the output to disk, then commit what is done. Raises StoreError."""
        begun = perf_counter()
        self.output = None if self.mark_output is None else self.mark_output()
        self.tally = dict(tally)
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

    def finish(self, report: Mapping[str, Any]) -> None:
        """Commit that the job is complete, with its report as JSON. Raises StoreError."""
        self.report, self.replaced, self.phase = dict(report), False, "finished"
        self._write()

    def retry_failed(self) -> int:
        """Have the failed tasks of earlier runs run again; returns how many. Raises StoreError.

        Call it before the run, when the output can take further rows.
        """
        if self.tally is None or not self.tally["failed"]:
            return 0
        if not self.retriable:
            raise not_retriable(self.path)
        count = int(self.tally["failed"])
        try:
            batches, tasks = self.failed.open(self._done)
            self._done = self._done.without(self.failed.every())
            self.failed.open(self._done)
        except sqlite3.Error as error:
            raise failed(self.path, error, self.saved_tasks) from error
        self.tally = without_failed(self.tally, batches, tasks)
        self.saved_tasks -= tasks
        self.before = Ranges(self._done.pairs())
        self.replaced = True
        if not self.unfinished:
            self.phase = "retrying"
        self._write()
        return count

    def _open(self) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            if not (exists(self.path) and self.path.stat().st_size):
                # Else its first page goes through a rollback journal. A kill would leave that, and
                # the next run refuse it.
                self._db.execute("PRAGMA journal_mode = MEMORY")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")  # from here on the file is locked
            kind = self._db.execute("PRAGMA application_id").fetchone()[0]
            schema = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if kind == 0 and empty:
                self._create()
            elif kind == APPLICATION_ID and schema in {1, SCHEMA}:
                self._load(schema)
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
            raise failed(self.path, error, self.saved_tasks) from error
        except (LookupError, TypeError, ValueError, RecursionError) as error:  # not a journal's
            raise self._unusable("it is damaged") from error

    def _create(self) -> None:
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        self._db.execute(_TABLE)
        self._db.execute(failed_batches.TABLE)
        self._put()

    def _load(self, schema: int) -> None:
        tables = self._db.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        known = [("table", "journal", _TABLE), ("table", "failed", failed_batches.TABLE)]
        if tables != known[:schema]:  # a view or a trigger would run code
            raise self._unusable("its tables are not those of a journal")
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        row = self._db.execute("SELECT job, state, sha256 FROM journal").fetchone()
        if problem != "ok" or row is None or _sha256(row[0], row[1]) != row[2]:
            raise self._unusable("it is damaged")
        job, raw = json.loads(row[0]), json.loads(row[1])
        if not isinstance(job, dict):
            raise self._unusable("it is damaged")
        try:
            state = from_json(_State, raw)
            totals = None if state.tally is None else from_json(Totals, state.tally)
        except UsageError as error:
            raise self.damaged(f"{error.place}: {error.cause}") from error
        if schema == 1:
            self._db.execute(failed_batches.TABLE)
            self._db.execute(f"PRAGMA user_version = {SCHEMA}")
        if not state.done and totals is None and "today" in job:
            job = {**self.job, "today": job["today"]}  # nothing is done: it may be any job's
        self._refuse_another(job)
        self._done = Ranges(state.done)
        self._refuse_contradictions(job, totals, state)
        self.phase, self.tally, self.output = state.phase, state.tally, state.output
        self.runs, self.codes, self.report = state.runs + 1, state.codes, state.report
        self.retriable, self.replaced = state.retriable or totals is None, state.replaced
        self.saved_tasks = totals.tasks if totals else 0
        self._compare_code(job)
        self.job = job

    def _refuse_another(self, job: Mapping[str, Any]) -> None:
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

    def _compare_code(self, job: dict[str, Any]) -> None:
        """Refuse code that has changed since tasks were done, or count it; update it in `job`."""
        now, before = self.job.get("code"), job.get("code")
        if not isinstance(now, dict):
            return
        if isinstance(before, dict):
            both = sorted(now.keys() & before.keys())
            self.changed_code = [name for name in both if now[name] != before[name]]
        job["code"] = now
        if not self.changed_code:
            return
        may = self._keep_code or (self._retry and self.phase in {"retrying", "finished"})
        if self.tally is not None and not may:
            raise other_code(self.path, job.get("workload"), self.changed_code, self.saved_tasks)
        self.codes += self.tally is not None

    def _refuse_contradictions(
        self, job: Mapping[str, Any], totals: Totals | None, state: _State
    ) -> None:
        """Raise StoreError if what the journal says cannot be true."""
        batches, tasks = (totals.batches, totals.tasks) if totals else (0, 0)
        size = job.get("batch size")
        wrong = batches != len(self._done) or (totals is not None and totals.failed > tasks)
        if isinstance(size, int) and batches:
            wrong |= not (batches - 1) * size < tasks <= batches * size
        wrong |= totals is not None and state.output is None and job.get("output") is not None
        if "today" in self.job:
            dt.date.fromisoformat(job["today"])
        listed = self.failed.open(self._done)[0]
        wrong |= state.retriable and listed != (totals.failed_batches if totals else 0)
        if wrong:
            raise self.damaged("batches, tasks and output do not agree")

    def _write(self) -> None:
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                self._put()
                self.failed.write()
                self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise failed(self.path, error, self.saved_tasks) from error
        self.failed.written()

    def _put(self) -> None:
        job = json.dumps(self.job, sort_keys=True)
        state = {
            "phase": self.phase,
            "done": self._done.pairs(),
            "tally": self.tally,
            "output": self.output,
            **{
                name: getattr(self, name)
                for name in ("runs", "codes", "retriable", "replaced", "report")
            },
        }
        text = json.dumps(state)
        self._db.execute(
            "INSERT OR REPLACE INTO journal (id, job, state, sha256) VALUES (1, ?, ?, ?)",
            (job, text, _sha256(job, text)),
        )

    def damaged(self, cause: str) -> StoreError:
        """Return the error for content that cannot be true."""
        return self._unusable(f"it is damaged: {cause}")

    def _unusable(self, cause: str) -> StoreError:
        return unusable(self.path, cause)


def _sha256(job: str, state: str) -> str:
    return hashlib.sha256(f"{job}\n{state}".encode()).hexdigest()


def _show(value: Any) -> str:
    return "not set" if value is None else repr(value)
