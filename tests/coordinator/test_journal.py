"""The journal: what is in it stays, nothing twice, and what it refuses."""

import errno
import io
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import COMMAND, ROOT, RunTodobatch
from tests.flaky import Flaky
from todobatch import Task, run_batches
from todobatch.coordinator import Hooks, Recovery
from todobatch.coordinator.journal import Journal
from todobatch.coordinator.ranges import Ranges
from todobatch.coordinator.recovery import Settled
from todobatch.coordinator.tally import Tally
from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.job import output as job_output
from todobatch.job.output import RowFile
from todobatch.lab.interpreters import Interpreter
from todobatch.model import Batch, BatchReport, Json, ProcessingResult
from todobatch.processors import TaskBatchProcessor
from todobatch.testing import FOR_EVER, Scripted

JOB: dict[str, Json] = {"generate": 60, "workload": "flaky", "today": "2026-11-24"}
RUN = ["run", "--generate", "3000", "--journal", "j.db", "--output", "out.jsonl", "--json"]


# Ranges -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), unique=True))
def test_ranges_are_a_set(numbers: list[int]) -> None:
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
        with pytest.raises(ValueError, match="there already"):
            ranges.add(number)
    assert [n for n in range(70) if n in ranges] == sorted(numbers)
    assert len(ranges) == len(numbers)
    pairs = ranges.pairs()
    assert all(a[1] < b[0] for a, b in itertools.pairwise(pairs)), "no two touch"
    assert Ranges(pairs).pairs() == pairs


def test_numbers_in_order_with_one_gap_are_two_ranges() -> None:
    ranges = Ranges()
    for number in range(100_000):
        if number != 5:
            ranges.add(number)
    assert ranges.pairs() == [(0, 5), (6, 100_000)]


# Going on -----------------------------------------------------------------------------------------


class _Killed(BaseException):
    """Stands for the end of the process: nothing is saved on the way out."""


def _run(
    path: Path, executor: Scripted, ends_after: int | None, written: list[tuple[int, int]]
) -> BatchReport:
    """Go on with the job; `written` stands for the output, cut to the length last saved."""
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
def test_a_run_that_ends_at_any_moment_comes_to_what_an_uninterrupted_one_does(
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


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="what it tests is in other processes")
def test_a_kill_at_each_write_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "tools" / "killed_at_each_write.py", tmp_path],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=280,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )  # fmt: skip
    cases = json.loads(done.stdout)
    assert len(cases) > 60, "each batch has its writes, and each was tried"
    whole = cases[0]
    assert whole["once"]
    assert whole["left"] == ["j.db", "out.jsonl"]
    for case in cases[1:]:
        assert case["resumed"] or case["kill_at"] < 6, "it went on where it was"
        assert {**case, "kill_at": 0, "resumed": []} == whole, case["kill_at"]
    assert max(tasks for case in cases for tasks in case["resumed"]) == whole["tasks"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["command", "engine"])
def test_the_real_command_killed_again_and_again_comes_to_each_task_once(
    run_todobatch: RunTodobatch, tmp_path: Path, whom: str
) -> None:
    """Each run works as far as `limit` says and hangs there; it is killed when that is saved."""
    (tmp_path / "mine.py").write_text(
        "import pathlib, time\n"
        "runs, limit = pathlib.Path('runs'), pathlib.Path('limit')\n"
        "def work(task):\n"
        "    with runs.open('a') as file:\n"
        "        file.write('.')\n"
        "    while runs.stat().st_size > int(limit.read_text()):\n"
        "        time.sleep(0.01)\n"
        "    return task.title\n"
    )
    (tmp_path / "limit").write_text("1000000")
    expected = run_todobatch(*RUN[:3], "-w", "mine:work", "--json", cwd=tmp_path)
    assert expected.returncode == 0, expected.stderr
    part, wal = tmp_path / "out.jsonl.part", tmp_path / "j.db-wal"
    for times in range(1, 4):
        (tmp_path / "runs").write_text("")
        (tmp_path / "limit").write_text("700")
        process = subprocess.Popen(
            [COMMAND, *RUN, "-w", "mine:work", "--batch-size", "10"],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not (
            (tmp_path / "runs").stat().st_size > 700
            and part.read_bytes().count(b"\n") >= times * 600  # else results are still on their way
            and wal.stat().st_mtime_ns >= part.stat().st_mtime_ns
        ):
            assert process.poll() is None
            os.sched_yield()
        pid = process.pid if whom == "command" else _engine_of(process.pid)
        os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
    (tmp_path / "limit").write_text("1000000")
    last = run_todobatch(*RUN, "-w", "mine:work", "--batch-size", "10", cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    document = json.loads(last.stdout)
    assert document["tasks"] == 3000
    assert document["resumed_tasks"] >= 3 * 600
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == list(range(3000))
    assert document["result"] == json.loads(expected.stdout)["result"]


def _engine_of(pid: int) -> int:
    """The child that runs the job."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                return int(entry.name)
    raise AssertionError("it has no child")


def test_a_finished_job_is_not_run_again(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    first = run_todobatch(*RUN, cwd=tmp_path)
    before = (tmp_path / "out.jsonl").stat().st_mtime_ns
    second = run_todobatch(*RUN, cwd=tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert (
        "going on with the journal: 3000 tasks were done before"
        in run_todobatch(*RUN[:-1], cwd=tmp_path).stderr
    )
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert two["resumed_tasks"] == 3000
    assert {k: one[k] for k in ("digest", "result", "tasks", "worker_totals")} == {
        k: two[k] for k in ("digest", "result", "tasks", "worker_totals")
    }
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before


@pytest.mark.interpreters
def test_every_executor_keeps_a_journal(
    run_todobatch: RunTodobatch, tmp_path: Path, python314t: Interpreter
) -> None:
    """All of them are driven by a thread of its own then."""
    digests = set()
    for executor in ("sequential", "threads", "interpreters", "processes", "coroutines"):
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


def test_another_executor_may_go_on(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    """A job on which threads crashed or hung is to be gone on with by processes."""
    with Journal(tmp_path / "j.db", JOB) as journal:
        run_batches([Task("a")], "validate", executor="threads", journal=journal)
    with Journal(tmp_path / "j.db", JOB) as journal:
        report = run_batches(
            [Task("a"), Task("b")], "validate", executor="sequential", batch_size=1, journal=journal
        )
    assert (report.tasks, report.resumed_tasks) == (2, 1)


def test_a_job_goes_on_with_the_day_that_it_began_on(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db", JOB):
        pass
    with Journal(tmp_path / "j.db", {**JOB, "today": "2027-01-01"}) as journal:
        assert journal.job["today"] == "2026-11-24"


# Ctrl-C -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_is_saved_and_gone_on_with(
    run_todobatch: RunTodobatch, tmp_path: Path, times: int
) -> None:
    """Once: what is under way is finished and saved. Twice: it ends though a batch hangs."""
    (tmp_path / "mine.py").write_text(
        "import pathlib\n"
        "def work(task):\n"
        "    pathlib.Path('runs').open('a').write('.')\n"
        "    while pathlib.Path('runs').stat().st_size > 200 and not pathlib.Path('go').exists():\n"
        "        pass\n"
        "    return task.title\n"
    )
    command = [*RUN[:2], "400", *RUN[3:], "-w", "mine:work", "--batch-size", "10"]
    process = subprocess.Popen(
        [COMMAND, *command], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    runs = tmp_path / "runs"
    try:
        while not (runs.exists() and runs.stat().st_size > 200):
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        for line in process.stderr:
            if "finishing the batches under way" in line:
                break
        if times == 2:
            process.send_signal(signal.SIGINT)
        else:
            (tmp_path / "go").touch()
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    (tmp_path / "go").touch()
    if times == 1:
        done = json.loads(stdout)["tasks"]
        assert len((tmp_path / "out.jsonl.part").read_text().splitlines()) == done
    last = run_todobatch(*command, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    document = json.loads(last.stdout)
    assert document["tasks"] == 400
    if times == 1:
        assert document["resumed_tasks"] == done, "all that was finished was saved"
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == list(range(400))


# What is refused ----------------------------------------------------------------------------------


def _a_journal(path: Path) -> Path:
    with Journal(path, JOB) as journal:
        run_batches([Task("a")] * 10, "validate", executor="sequential", journal=journal)
    return path


def test_another_jobs_journal_is_refused_with_the_differences(tmp_path: Path) -> None:
    path = _a_journal(tmp_path / "j.db")
    with pytest.raises(UsageError) as raised:
        Journal(path, {**JOB, "generate": 61, "output": "x"})
    assert "generate was 60 and is 61; output was not set and is 'x'" in str(raised.value)


def test_what_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough for one to be looked at\n" * 40)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE mine (a)")
    db.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(StoreError, match="cannot be gone on with") as raised:
            Journal(path, JOB)
        assert "name another file" in raised.value.remedy
        assert path.read_bytes()[100:] == before[100:]
    with pytest.raises(UsageError, match="it is a folder"):
        Journal(tmp_path, JOB)
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        Journal(tmp_path / "no" / "such" / "folder.db", JOB)
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        Journal("/proc/todobatch-journal.db", JOB)


def test_every_flipped_byte_is_found_or_does_no_harm(tmp_path: Path) -> None:
    """Each of 150 places across the file: a refusal, or the very state that was saved."""
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
    with pytest.raises(NewerSchemaError, match="schema 99, and this todobatch knows 1"):
        Journal(path, JOB)


def test_two_writers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todobatch.coordinator.journal.WAIT_FOR_LOCK_S", 0.05)
    path = tmp_path / "j.db"
    with Journal(path, JOB):
        with pytest.raises(StoreError, match="another run is writing it") as raised:
            Journal(path, JOB)
        assert "wait until that one has ended" in raised.value.remedy
    with Journal(path, JOB):
        pass


def test_a_batch_that_comes_in_twice_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db", JOB) as journal:
        journal.note(0)
        with pytest.raises(StoreError, match="batch 0 came in twice"):
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


def test_a_full_disk_says_what_is_saved_and_is_gone_on_with(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    command = [*RUN[:4], "j.db", "--json", "--batch-size", "5"]
    limited = 'ulimit -f 256; exec "$0" "$@"'
    done = subprocess.run(
        ["sh", "-c", limited, str(COMMAND), *command, "-w", "mine:fill"],
        check=False, cwd=_with_filler(tmp_path), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "--journal j.db: cannot be written" in done.stderr
    assert "tasks are saved" in done.stderr
    assert "remedy: make room, and run the same command again" in done.stderr
    again = run_todobatch(*command, "-w", "mine:fill", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert document["tasks"] == 3000
    assert document["resumed_tasks"] > 0


def _with_filler(folder: Path) -> Path:
    """A processor whose aggregate grows with each batch, until the journal has no room for it."""
    (folder / "mine.py").write_text(
        "import time\n"
        "from todobatch.processors import TaskBatchProcessor\n"
        "class fill(TaskBatchProcessor):\n"
        "    name = 'fill'\n"
        "    def process_task(self, task):\n"
        "        return task.title\n"
        "    def summarise(self, tasks, rows):\n"
        "        time.sleep(0.002)\n"
        "        return {task.title * 4: 1 for task in tasks}\n"
    )
    return folder


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda out: out.unlink(), "it is gone"),
        (lambda out: out.write_text("other\n"), "it holds something else"),
        (lambda out: out.write_text(out.read_text() + "{}\n"), "it holds more"),
    ],
)
def test_an_output_that_is_not_the_journals_is_refused(
    run_todobatch: RunTodobatch, tmp_path: Path, change: Any, part: str
) -> None:
    assert run_todobatch(*RUN, cwd=tmp_path).returncode == 0
    change(tmp_path / "out.jsonl")
    done = run_todobatch(*RUN, cwd=tmp_path)
    assert done.returncode == 6
    assert "does not hold the rows that the journal knows to be written" in done.stderr
    assert part in done.stderr
    assert "put that file back; or remove the journal" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--generate", "5", "--journal", "."], 2, "it is a folder"),
        (["--generate", "5", "--journal", "a", "-o", "a"], 2, "the file is the output too"),
        (["tasks.jsonl", "--journal", "tasks.jsonl"], 2, "the file is the input too"),
        (["--generate", "5", "--journal", "a", "-o", os.devnull], 2, "must be a plain file"),
        (["--generate", "5", "--journal", "no/folder/j"], 6, "cannot be opened for writing"),
        (["--generate", "5", "--journal", "tasks.jsonl"], 6, "cannot be gone on with"),
        (["--generate", "5", "--deadline", "1"], 2, "--executor processes"),
        (["--generate", "5", "--retries", "-1"], 2, "--retries: -1 retries"),
        (["--generate", "5", "--backoff", "-1"], 2, "--backoff"),
        (["--generate", "5", "--no-progress", "0"], 2, "--no-progress"),
        (["--generate", "5", "--order", "magic"], 2, "--order: unknown 'magic'"),
        (["--generate", "5", "--placement", "magic"], 2, "--placement: unknown 'magic'"),
        (
            ["--generate", "5", "-e", "sequential", "--placement", "spread"],
            2,
            "choose --placement none",
        ),
    ],
)
def test_senseless_commands_are_refused(
    run_todobatch: RunTodobatch, tmp_path: Path, arguments: list[str], code: int, part: str
) -> None:
    (tmp_path / "tasks.jsonl").write_text('{"title": "a"}\n' * 50)
    done = run_todobatch("run", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "tasks.jsonl").read_text() == '{"title": "a"}\n' * 50


def test_an_input_that_has_changed_is_refused(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    tasks = tmp_path / "todo.txt"
    tasks.write_text("one\ntwo\n")
    command = ["run", "todo.txt", "--journal", "j.db"]
    assert run_todobatch(*command, cwd=tmp_path).returncode == 0
    tasks.rename(tmp_path / "elsewhere.txt")
    moved = run_todobatch("run", "elsewhere.txt", "--journal", "j.db", cwd=tmp_path)
    assert moved.returncode == 0, "it is known by its content"
    tasks.write_text("one\nTWO\n")
    done = run_todobatch(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "input's sha256 was '" in done.stderr


def test_standard_input_may_have_a_journal(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    command = ["run", "-", "--format", "todotxt", "--journal", "j.db", "--json"]
    for before in (0, 2):
        done = run_todobatch(*command, cwd=tmp_path, stdin="one\ntwo\n")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["resumed_tasks"] == before


def test_a_run_without_progress_ends_with_what_is_saved(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import threading\n"
        "def hang(task):\n"
        "    if 'boom' in task.title:\n"
        "        threading.Event().wait()\n"
        "    return task.title\n"
    )
    (tmp_path / "todo.txt").write_text("one\nboom\nthree\nfour\n")
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:hang", "--batch-size", "1", "--journal", "j.db",
        "--no-progress", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    # Short batches travel together: those behind the one that hangs wait with it.
    found = re.search(r"(\d) tasks are done and saved in j\.db; in flight: batch", done.stderr)
    assert found is not None, done.stderr
    assert "batch 1 (tasks 1 to 1) for " in done.stderr
    assert "choose --executor processes and pass --deadline" in done.stderr


# The output belongs to its journal ----------------------------------------------------------------


def _interrupted(folder: Path, journal: str = "j.db") -> Path:
    """A job of which one batch is saved; its output."""
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


def test_rows_of_a_journal_are_not_written_over(tmp_path: Path) -> None:
    """Not by a run without one, nor by one with another; its own goes on."""
    out = _interrupted(tmp_path)
    part = tmp_path / "out.jsonl.part"
    before = part.read_bytes()
    assert before.count(b"\n") == 2
    with pytest.raises(UsageError) as raised:
        RowFile(out)
    assert f"belong to the journal {tmp_path / 'j.db'}" in raised.value.cause
    assert raised.value.place == f"--output {out}"
    assert "go on with that job by --journal" in raised.value.remedy
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


def test_rows_whose_journal_is_gone_belong_to_nobody(tmp_path: Path) -> None:
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


def test_a_lock_on_what_was_moved_into_place_is_not_taken_for_one_on_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run moves its file while the second waits for it: the second must not have it."""
    out = tmp_path / "out.jsonl"
    batch = Batch(0, (Task("a"),))
    first = RowFile(out)
    first.write(batch, replace(Flaky().process_batch(batch), rows=("A",)))
    monkeypatch.setattr(job_output, "sleep", lambda seconds: first.finish(complete=True))
    second = RowFile(out)
    second.keep_part()
    assert out.read_text().count("\n") == 1
    assert (tmp_path / "out.jsonl.part").read_text() == ""


def test_a_full_output_counts_what_earlier_runs_saved_too(
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
    """A file on a disk that is full, for so long."""

    full = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)

    def close(self) -> None:
        """There is nothing to let go of."""
