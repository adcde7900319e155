"""The file of rows belongs to its journal, and nothing else overwrites it."""

import errno
import io
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from tests.coordinator.made_up import JOB, RUN
from tests.tools.flaky import Flaky
from todobatch import Task
from todobatch.coordinator.journal import Journal
from todobatch.coordinator.recovery import Settled
from todobatch.coordinator.tally import Tally
from todobatch.errors import StoreError, UsageError
from todobatch.job import output as job_output
from todobatch.job.output import RowFile, open_rows
from todobatch.model import Batch


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda out: out.unlink(), "the file is missing"),
        (lambda out: out.write_text("other\n"), "its content differs"),
        (lambda out: out.write_text(out.read_text() + "{}\n"), "it has further rows"),
    ],
)
def test_an_output_that_the_journal_does_not_know_is_refused(
    run_todobatch: RunTodobatch, tmp_path: Path, change: Any, part: str
) -> None:
    assert run_todobatch(*RUN, cwd=tmp_path).returncode == 0
    change(tmp_path / "out.jsonl")
    done = run_todobatch(*RUN, cwd=tmp_path)
    assert done.returncode == 6
    assert "does not hold the rows that the journal saved" in done.stderr
    assert part in done.stderr
    assert "put the file back; or remove the journal" in done.stderr


def _interrupted(folder: Path, journal: str = "j.db") -> Path:
    """Return the output of an interrupted job, of which one batch is saved."""
    out = folder / "out.jsonl"
    batch = Batch(0, (Task("a"), Task("b")))
    result = Flaky().process_batch(batch)
    with Journal(folder / journal, JOB) as open_one:
        output = RowFile(out, open_one)
        open_one.mark_output = output.mark
        output.write(batch, replace(result, rows=("A", "B")))
        open_one.note(0)
        tally = Tally(Flaky())
        tally.add(Settled(batch, result))
        open_one.save(tally.state())
        output.keep_part()
    return out


def test_rows_of_a_journal_are_not_overwritten(tmp_path: Path) -> None:
    """Runs without the journal, or with another one, are refused; the run with it resumes."""
    out = _interrupted(tmp_path)
    part = tmp_path / "out.jsonl.part"
    before = part.read_bytes()
    assert before.count(b"\n") == 2
    with pytest.raises(UsageError) as raised:
        RowFile(out)
    assert f"belong to the journal {tmp_path / 'j.db'}" in raised.value.cause
    assert raised.value.place == f"`output` {out}"
    assert "resume that job with its `journal`" in raised.value.remedy
    with (
        Journal(tmp_path / "other.db", JOB) as other,
        pytest.raises(UsageError, match="belong to the journal"),
    ):
        RowFile(out, other)
    assert part.read_bytes() == before
    with Journal(tmp_path / "j.db", JOB) as journal:
        output = RowFile(out, journal)
        output.finish(complete=True)
    assert out.read_bytes() == before
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]
    RowFile(out).finish(complete=True)  # what is complete may be replaced, as ever
    assert out.read_bytes() == b""


def test_rows_whose_journal_is_gone_may_be_overwritten(tmp_path: Path) -> None:
    out = _interrupted(tmp_path)
    (tmp_path / "j.db").rename(tmp_path / "k.db")
    with Journal(tmp_path / "k.db", JOB) as moved:
        RowFile(out, moved).keep_part()
    with pytest.raises(UsageError, match=re.escape(f"belong to the journal {tmp_path / 'k.db'}")):
        RowFile(out)
    (tmp_path / "k.db").unlink()
    RowFile(out).finish(complete=True)
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_two_runs_do_not_write_one_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todobatch.job.output.WAIT_FOR_LOCK_S", 0.05)
    out = tmp_path / "out.jsonl"
    batch = Batch(0, (Task("a"),))
    first = RowFile(out)
    first.write(batch, replace(Flaky().process_batch(batch), rows=("A",)))
    with pytest.raises(StoreError, match="another run is writing it") as raised:
        RowFile(out)
    assert raised.value.place.endswith("out.jsonl.part")
    first.finish(complete=True)
    assert out.read_text().count("\n") == 1, "the refused one took nothing away"
    RowFile(out).keep_part()


def test_a_lock_on_a_file_that_was_moved_away_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run moves its file while the second waits for the lock."""
    out = tmp_path / "out.jsonl"
    batch = Batch(0, (Task("a"),))
    first = RowFile(out)
    first.write(batch, replace(Flaky().process_batch(batch), rows=("A",)))
    monkeypatch.setattr(job_output, "sleep", lambda seconds: first.finish(complete=True))
    second = RowFile(out)
    second.keep_part()
    assert out.read_text().count("\n") == 1
    assert (tmp_path / "out.jsonl.part").read_text() == ""


def test_a_full_disk_counts_the_tasks_of_earlier_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _interrupted(tmp_path)
    batch = Batch(1, (Task("c"),), 2)
    with Journal(tmp_path / "j.db", JOB) as journal:
        output = RowFile(out, journal)
        disk = Full()
        with monkeypatch.context() as patch:
            patch.setattr(output, "_file", io.BufferedWriter(disk))
            with pytest.raises(StoreError, match="No space left on device; 2 tasks are saved"):
                output.write(batch, Flaky().process_batch(batch))
            disk.full = False  # else the buffer's end, with rows still in it, is one more error
        output.keep_part()


class Full(io.RawIOBase):
    """A file on a disk that is full until `full` is False."""

    full = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def close(self) -> None:
        """Nothing to close."""


def test_a_file_that_another_job_wrote_is_replaced_only_by_force(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("keep me\n")
    with pytest.raises(UsageError, match="the file exists, and this job did not write it") as error:
        open_rows(str(out), None, None)
    assert "pass `force=True`" in error.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]
    rows = open_rows(str(out), None, None, force=True)
    assert out.read_text() == "keep me\n", "until the job is complete"
    rows.finish(complete=True)
    assert out.read_text() == ""
    open_rows(str(out), None, None).finish(complete=True)  # an empty file has nothing to lose


@pytest.mark.parametrize("journaled", [False, True])
def test_a_file_that_is_removed_midway_is_an_error_that_says_so(
    tmp_path: Path, *, journaled: bool
) -> None:
    journal = Journal(tmp_path / "j.db", JOB) if journaled else None
    output = RowFile(tmp_path / "out.jsonl", journal)
    (tmp_path / "out.jsonl.part").unlink()
    with pytest.raises(StoreError, match="was removed or replaced while the job wrote") as error:
        output.finish(complete=True)
    assert "free disk space" not in error.value.remedy
    assert ("remove the journal" in error.value.remedy) == journaled
    if journal is not None:
        with pytest.raises(StoreError, match="was removed or replaced"):
            output.mark()  # so the journal does not save what is lost
        journal.close()
    output.keep_part()


def test_a_remedy_names_another_output_only_where_the_job_can_change_it(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    fresh = RowFile(tmp_path / "fresh.jsonl")
    assert "name another `output`" in fresh._no_room(full).remedy
    fresh.keep_part()
    out = _interrupted(tmp_path)
    with Journal(tmp_path / "j.db", JOB) as journal:
        output = RowFile(out, journal)
        for error in (output._no_room(full), output._in_use(out), output._cannot(full)):
            assert "name another" not in error.remedy
        output.keep_part()
