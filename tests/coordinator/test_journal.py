"""The journal keeps what it saved, counts nothing twice, and refuses other jobs."""

import ctypes
import json
import os
import random
import sqlite3
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from tests.coordinator.made_up import JOB
from tests.tools.flaky import Flaky
from tests.tools.killed_at_each_write import cases_of
from todobatch import Hooks, Recovery, Task, run_batches
from todobatch.coordinator.journal import Journal
from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.executors import EXECUTORS
from todobatch.lab.interpreters import Interpreter
from todobatch.model import Batch, BatchReport, ProcessingResult
from todobatch.processors import TaskBatchProcessor
from todobatch.testing import FOR_EVER, Scripted


class _Killed(BaseException):
    """Stands for a kill of the process, after which nothing is saved."""


def _run(
    path: Path, executor: Scripted, ends_after: int | None, written: list[tuple[int, int]]
) -> BatchReport:
    """Begin or resume the job; `written` is its output, truncated to the length saved last."""
    with Journal(path, JOB) as journal:
        journal.mark_output = lambda: {"rows": len(written)}
        del written[0 if journal.output is None else journal.output["rows"] :]
        left = ends_after

        def take(batch: Batch, result: ProcessingResult) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    raise _Killed
            written.extend((place, batch.index) for place in range(batch.first, batch.first + 7))

        return run_batches(
            [Task(f"bad {n}" if n == 11 else f"task {n}", 1 + n % 10) for n in range(63)],
            Flaky(), executor=executor, batch_size=7, journal=journal,
            recovery=Recovery(backoff_s=0.0), hooks=Hooks(on_batch=take),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_a_killed_and_resumed_run_has_the_result_of_an_uninterrupted_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("todobatch.coordinator.journal.SHORTEST_S", 0.0)
    monkeypatch.setattr("todobatch.coordinator.journal.LONGEST_S", 0.0)
    breaks = {"task 20": FOR_EVER, "task 40": 2}
    whole = _run(tmp_path / "whole.db", Scripted(breaks, seed=seed), None, [])
    written: list[tuple[int, int]] = []
    path = tmp_path / "j.db"
    for _ in range(4):
        with pytest.raises(_Killed):
            _run(path, Scripted(breaks, seed=dice.random()), dice.randrange(2), written)  # type: ignore[arg-type]
    last = _run(path, Scripted(breaks, seed=seed), None, written)
    assert Counter(place for place, _ in written) == Counter(range(63))
    for name in ("digest", "result", "tasks", "failed", "batches", "failed_batches", "set_aside"):
        assert getattr(last, name) == getattr(whole, name), name
    assert {f.task for f in last.failures} == {f.task for f in whole.failures} == {11, 20}
    assert {f.task for f in last.set_aside_tasks} == {20}
    assert sum(w.tasks for w in last.worker_totals) == 61
    again = _run(path, Scripted(), None, written)
    assert (again.resumed_tasks, again.digest) == (63, whole.digest)


def test_only_files_that_a_resumed_run_accepts_are_ever_made(tmp_path: Path) -> None:
    """SQLite must make no rollback journal, which a kill would leave and the next run refuse."""
    libc = ctypes.CDLL(None)
    events = libc.inotify_init1(os.O_NONBLOCK)
    created = 0x100  # IN_CREATE
    try:
        assert libc.inotify_add_watch(events, os.fsencode(tmp_path), created) > 0
        _run(tmp_path / "j.db", Scripted(), None, [])
        _run(tmp_path / "j.db", Scripted(), None, [])
        data = os.read(events, 65_536)
    finally:
        os.close(events)
    names = set()
    while data:
        length = struct.unpack_from("iIII", data)[3]
        names.add(data[16 : 16 + length].rstrip(b"\0").decode())
        data = data[16 + length :]
    assert names == {"j.db", "j.db-wal"}


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="what it tests is in other processes")
def test_a_kill_at_each_write_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    cases = cases_of(tmp_path)
    assert len(cases) > 60, "each batch has its writes, and each was tried"
    whole = cases[0]
    assert whole["once"]
    assert whole["left"] == ["j.db", "out.jsonl"]
    for case in cases[1:]:
        assert case["resumed"] or case["kill_at"] < 14, (
            "killed after the first commit, so it resumed"
        )
        assert {**case, "kill_at": 0, "resumed": []} == whole, case["kill_at"]
    assert max(tasks for case in cases for tasks in case["resumed"]) == whole["tasks"]


@pytest.mark.interpreters
def test_every_executor_keeps_a_journal(
    run_todobatch: RunTodobatch, tmp_path: Path, python314t: Interpreter
) -> None:
    """With a journal, a second thread drives the executor."""
    digests = set()
    for executor in EXECUTORS:
        done = run_todobatch(
            "run", "--generate", "300", "-e", executor, "--journal", f"{executor}.db",
            "-o", f"{executor}.jsonl", "--batch-size", "9", "--json",
            cwd=tmp_path, interpreter=python314t,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        digests.add(json.loads(done.stdout)["digest"])
        text = (tmp_path / f"{executor}.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        assert sorted(row["task"] for row in rows) == list(range(300))
    assert len(digests) == 1


def _a_journal(path: Path) -> Path:
    with Journal(path, JOB) as journal:
        run_batches([Task("a")] * 10, "validate", executor="sequential", journal=journal)
    return path


def test_another_jobs_journal_is_refused_with_the_differences(tmp_path: Path) -> None:
    path = _a_journal(tmp_path / "j.db")
    with pytest.raises(UsageError) as raised:
        Journal(path, {**JOB, "generate": 61, "output": "x"})
    assert "generate was 60 and is 61; output was not set and is 'x'" in str(raised.value)


def test_a_file_that_is_not_a_journal_is_refused_and_unchanged(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough for one to be looked at\n" * 40)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(StoreError, match="cannot be resumed") as raised:
            Journal(path, JOB)
        assert "name another file" in raised.value.remedy
        assert path.read_bytes()[100:] == before[100:]
    with pytest.raises(UsageError, match="it is a folder"):
        Journal(tmp_path, JOB)
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        Journal(tmp_path / "no" / "such" / "folder.db", JOB)
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        Journal("/proc/todobatch-journal.db", JOB)


def test_a_disk_that_is_full_when_the_journal_is_closed_loses_nothing(tmp_path: Path) -> None:
    path, log = tmp_path / "j.db", tmp_path / "j.db-wal"
    with Journal(path, JOB) as journal:
        run_batches([Task("one"), Task("two")], "validate", journal=journal)
        logged = log.read_bytes()
    # The first page is in the file and says that there are two; the second one had no room.
    path.write_bytes(path.read_bytes()[:4096])
    log.write_bytes(logged)
    with Journal(path, JOB) as journal:
        assert journal.saved_tasks == 2


def test_every_flipped_byte_is_detected_or_harmless(tmp_path: Path) -> None:
    """With a byte flipped at 150 places, the journal is refused or has the saved state."""
    path = _a_journal(tmp_path / "j.db")
    good = path.read_bytes()
    with Journal(path, JOB) as journal:
        tally = journal.tally
    refused = 0
    for place in range(0, len(good), max(len(good) // 150, 1)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            with Journal(path, JOB) as journal:
                assert journal.tally == tally
        except (StoreError, UsageError):
            refused += 1
        for beside in tmp_path.glob("j.db-*"):
            beside.unlink()
    assert refused > 10


def test_a_journal_of_a_newer_schema_names_both(tmp_path: Path) -> None:
    path = _a_journal(tmp_path / "j.db")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NewerSchemaError, match="schema 99, and this todobatch knows 2"):
        Journal(path, JOB)


def test_two_writers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todobatch.coordinator.journal.WAIT_FOR_LOCK_S", 0.05)
    path = tmp_path / "j.db"
    with Journal(path, JOB):
        with pytest.raises(StoreError, match="another run is writing it") as raised:
            Journal(path, JOB)
        assert "wait until that run has ended" in raised.value.remedy
    with Journal(path, JOB):
        pass


def test_a_batch_that_comes_in_twice_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db", JOB) as journal:
        journal.note(0)
        with pytest.raises(StoreError, match="the result of batch 0 came in twice"):
            journal.note(0)


def test_an_aggregate_that_json_changes_is_refused(tmp_path: Path) -> None:
    class Odd(TaskBatchProcessor):
        name = "odd"

        def process_task(self, task: Task) -> None:
            return None

        def summarise(self, tasks: Any, rows: Any) -> Any:
            return {1: len(rows)}

    with (
        Journal(tmp_path / "j.db", JOB) as journal,
        pytest.raises(UsageError, match="changes when it is saved as JSON"),
    ):
        run_batches([Task("a")], Odd(), executor="sequential", journal=journal)


@pytest.mark.parametrize("why", ["it is a symbolic link", "it is a folder", "did not write it"])
def test_what_is_in_the_way_of_the_log_is_named_and_stays(tmp_path: Path, why: str) -> None:
    log, victim = tmp_path / "j.db-wal", tmp_path / "victim"
    victim.write_text("precious\n")
    if "link" in why:
        log.symlink_to(victim)
    elif "folder" in why:
        log.mkdir()
    else:
        victim.rename(log)
        victim = log
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(StoreError, match=f"j.db-wal is in the way: .*{why}") as raised:
        Journal(tmp_path / "j.db", JOB)
    assert raised.value.remedy == f"move {log} away, or name another file"
    assert victim.read_text() == "precious\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
