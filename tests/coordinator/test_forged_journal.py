"""A journal with a right checksum and wrong fields is refused: no traceback, nothing twice."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from tests.fuzz.jobs import TITLES, run_job
from todobatch.coordinator.journal import Journal, saved_tasks
from todobatch.errors import StoreError, UsageError

pytestmark = pytest.mark.thread_unsafe(reason="threads would share the folder of the fixture")


def forge(path: Path, change: Callable[[Any], object], column: str = "state") -> None:
    """Change the journal's state or job, and seal it with a right checksum."""
    with sqlite3.connect(path) as db:
        texts = dict(
            zip(
                ("job", "state"),
                db.execute("SELECT job, state FROM journal").fetchone(),
                strict=True,
            )
        )
        raw = json.loads(texts[column])
        changed = change(raw)
        texts[column] = json.dumps(raw if changed is None else changed)
        seal = hashlib.sha256(f"{texts['job']}\n{texts['state']}".encode()).hexdigest()
        db.execute("UPDATE journal SET job = ?, state = ?, sha256 = ?", (*texts.values(), seal))
    db.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a job of three batches, of which two are done."""
    run_job(tmp_path / "j.db", tmp_path / "out.jsonl", batches=2)
    return tmp_path


def resume(folder: Path) -> None:
    run_job(folder / "j.db", folder / "out.jsonl")


def test_a_journal_as_it_was_resumes(folder: Path) -> None:
    resume(folder)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["title"] for row in rows] == TITLES


@pytest.mark.parametrize(
    "change",
    [
        lambda state: 5,
        lambda state: state.pop("done") and None,
        lambda state: state.update(phase="begun"),
        lambda state: state.update(runs="many"),
        lambda state: state.update(runs=-1),
        lambda state: state.update(done=[[0, 1]]),
        lambda state: state.update(done=[[0, "2"]]),
        lambda state: state.update(done=[[-1, 1]]),
        lambda state: state.update(done=[[2, 0]]),
        lambda state: state.update(done=[[0, 1], [0, 2]]),
        lambda state: state.update(done=[[1, 3]]),
        lambda state: state.update(done=[], tally=None),
        lambda state: state.update(tally=None),
        lambda state: state.update(tally=[]),
        lambda state: state.update(output=None) or state["tally"].update(tasks=3),
        lambda state: state["output"].update(bytes=-1),
        lambda state: state["output"].update(bytes="all"),
        lambda state: state["output"].pop("tail") and None,
        lambda state: state["output"].update(bytes=0, tail=hashlib.sha256(b"").hexdigest()),
        lambda state: state["tally"].update(tasks=-4),
        lambda state: state["tally"].update(batches=3),
        lambda state: state["tally"].update(failed=5),
        lambda state: state["tally"].update(digest="zz"),
        lambda state: state["tally"].update(partial=7),
        lambda state: state["tally"].update(workers=[{}]),
        lambda state: state["tally"].update(failures=[{"task": "x"}]),
        lambda state: state["tally"].update(errors=3),
    ],
)
def test_forged_fields_are_refused_and_the_rows_stay(
    folder: Path, change: Callable[[Any], object]
) -> None:
    forge(folder / "j.db", change)
    before = (folder / "out.jsonl.part").read_bytes()
    with pytest.raises(StoreError):
        resume(folder)
    assert (folder / "out.jsonl.part").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda job: [],
        lambda job: job.update(today="someday"),
        lambda job: job.update(today=5),
        lambda job: job.pop("today") and None,
    ],
)
def test_a_forged_job_is_refused(folder: Path, change: Callable[[Any], object]) -> None:
    forge(folder / "j.db", change, "job")
    with pytest.raises(StoreError, match="cannot be resumed: it is damaged"):
        resume(folder)


@pytest.mark.parametrize("change", [{"phase": 1}, {"tally": [1]}, {"done": [["0", 1]]}])
def test_the_command_ends_with_6(
    run_todobatch: RunTodobatch, tmp_path: Path, change: dict[str, Any]
) -> None:
    command = ("run", "--generate", "5", "--journal", "j.db")
    assert run_todobatch(*command, cwd=tmp_path).returncode == 0
    forge(tmp_path / "j.db", lambda state: state.update(change))
    done = run_todobatch(*command, cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "--journal j.db: cannot be resumed: it is damaged" in done.stderr


def test_a_table_that_runs_code_is_refused(folder: Path) -> None:
    with sqlite3.connect(folder / "j.db") as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM journal; END")
    db.close()
    with pytest.raises(StoreError, match="its tables are not those of a journal"):
        Journal(folder / "j.db", {})


def test_a_fifo_is_not_a_journal(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "j.db")
    with pytest.raises(UsageError, match="it is not a regular file"):
        Journal(tmp_path / "j.db", {})


def test_a_journal_behind_a_link_of_the_users_own_is_used(tmp_path: Path) -> None:
    run_job(tmp_path / "kept.db", tmp_path / "out.jsonl", batches=2)
    (tmp_path / "j.db").symlink_to("kept.db")
    resume(tmp_path)


def test_a_rollback_journal_beside_it_is_refused_and_nothing_is_played_back(folder: Path) -> None:
    """SQLite would play it back, and delete the file that it names, before we see the content."""
    victim = folder / "victim.txt"
    victim.write_text("one line that must stay")
    (folder / "j.db-journal").write_bytes(bytes(512) + str(victim).encode() + bytes(20))
    before = (folder / "j.db").read_bytes()
    with pytest.raises(StoreError, match=r"there is a file j\.db-journal beside it"):
        resume(folder)
    assert victim.read_text() == "one line that must stay"
    assert (folder / "j.db").read_bytes() == before


def test_a_kill_at_the_very_beginning_leaves_nothing_that_disturbs(tmp_path: Path) -> None:
    (tmp_path / "j.db").touch()
    (tmp_path / "j.db-journal").write_bytes(bytes(512))
    run_job(tmp_path / "j.db", tmp_path / "out.jsonl")
    assert not (tmp_path / "j.db-journal").exists()


def test_the_database_of_another_program_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="a database of another program"):
        Journal(path, {})
    assert path.read_bytes() == before


def test_a_second_look_at_an_open_journal_does_not_unlock_it(tmp_path: Path) -> None:
    """Closing any descriptor of a file drops all locks that the process has on it (fcntl(2))."""
    path = tmp_path / "j.db"
    code = (
        "import sys\nfrom todobatch.coordinator.journal import Journal\n"
        "Journal(sys.argv[1], {'workload': 'own'})"
    )
    with Journal(path, {"workload": "own"}):
        assert saved_tasks(path) is None
        with pytest.raises(StoreError, match="another run is writing it"):
            Journal(path, {"workload": "own"})
        other = subprocess.run(
            [sys.executable, "-c", code, path], check=False, capture_output=True, text=True
        )
    assert "another run is writing it" in other.stderr
