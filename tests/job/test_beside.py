"""What a stranger has put at the names beside an output is neither followed nor lost."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from tests.coordinator.made_up import JOB
from tests.tools.flaky import Flaky
from todobatch import Task
from todobatch.coordinator.journal import Journal
from todobatch.coordinator.recovery import Settled
from todobatch.coordinator.tally import Tally
from todobatch.errors import StoreError, UsageError
from todobatch.job.beside import remedy_for
from todobatch.job.output import RowFile
from todobatch.model import Batch

IN_THE_WAY: dict[str, Callable[[Path, Path], object]] = {
    "it is a symbolic link": lambda name, victim: name.symlink_to(victim),
    "it is a hard link": lambda name, victim: name.hardlink_to(victim),
    "it is not a regular file": lambda name, _: os.mkfifo(name),
    "it is a folder": lambda name, _: name.mkdir(),
}
NAMES = ["out.jsonl.part", "out.jsonl.part.journal", "out.jsonl.part.new"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("why", IN_THE_WAY)
def test_a_link_or_the_like_is_refused_and_stays(
    tmp_path: Path, why: str, name: str, *, force: bool
) -> None:
    victim, place = tmp_path / "victim", tmp_path / name
    victim.write_text("precious\n")
    IN_THE_WAY[why](place, victim)
    before = sorted(path.name for path in tmp_path.iterdir())
    with Journal(tmp_path / "j.db", JOB) as journal, pytest.raises(StoreError) as raised:
        RowFile(tmp_path / "out.jsonl", journal, force=force)
    assert raised.value.cause.startswith(why)
    assert raised.value.place == str(place)
    assert raised.value.remedy == "move it away, or name another `output`"
    assert victim.read_text() == "precious\n"
    (tmp_path / "j.db").unlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_link_to_nothing_is_refused_and_makes_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nothing")
    with pytest.raises(StoreError, match="it is a symbolic link"):
        RowFile(tmp_path / "out.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_todobatch_did_not_write_is_replaced_only_by_force(
    tmp_path: Path, name: str
) -> None:
    out, notes = tmp_path / "out.jsonl", tmp_path / name
    notes.write_text("notes\n")
    with Journal(tmp_path / "j.db", JOB) as journal:
        with pytest.raises(UsageError, match="todobatch did not write it") as raised:
            RowFile(out, journal)
        assert raised.value.place == str(notes)
        assert "or pass `force=True`, which replaces it" in raised.value.remedy
        assert notes.read_text() == "notes\n"
        assert not out.exists()
        RowFile(out, journal, force=True).finish(complete=True)
    assert out.read_text() == ""


@pytest.mark.parametrize(
    "left", ["", '{"task": 0, "title": "a", "result": 1}\n', '{"task": 12, "title": "to']
)
def test_what_a_killed_run_left_is_replaced(tmp_path: Path, left: str) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "out.jsonl.part").write_text(left)
    (tmp_path / "out.jsonl.part.journal").write_text(str(tmp_path / "removed.db"))
    RowFile(out).finish(complete=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert out.read_text() == ""


def test_a_resumed_job_does_not_follow_a_link_to_its_rows(tmp_path: Path) -> None:
    out, part, moved = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part", tmp_path / "moved"
    batch = Batch(0, (Task("a"),))
    result = Flaky().process_batch(batch)
    with Journal(tmp_path / "j.db", JOB) as journal:
        rows = RowFile(out, journal)
        journal.mark_output = rows.mark
        rows.write(batch, replace(result, rows=("A",)))
        journal.note(0)
        tally = Tally(Flaky())
        tally.add(Settled(batch, result))
        journal.save(tally.state())
        rows.keep_part()
    part.rename(moved)
    moved.write_text(f"{moved.read_text()}more\n")
    part.symlink_to(moved)
    with (
        Journal(tmp_path / "j.db", JOB) as journal,
        pytest.raises(StoreError, match="the journal saved: it is a symbolic link") as raised,
    ):
        RowFile(out, journal)
    assert raised.value.place == str(part)
    assert moved.read_text().endswith("more\n"), "not cut"


def test_a_refused_input_empties_no_file(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "victim").write_text("precious\n")
    (tmp_path / "out.jsonl.part").symlink_to("victim")
    done = run_todobatch("run", "empty.txt", "--force", "-o", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert "out.jsonl.part: it is a symbolic link" in done.stderr
    assert (tmp_path / "victim").read_text() == "precious\n"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free disk space"),
        (errno.EACCES, "give yourself permission"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "check the file system"),
    ],
)
def test_the_remedy_fits_the_error(number: int, remedy: str) -> None:
    assert remedy in remedy_for(OSError(number, os.strerror(number)))
