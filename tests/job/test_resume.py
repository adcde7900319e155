"""A job that was killed, stopped or failed is resumed by the same command."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import COMMAND, RunTodobatch
from tests.coordinator.made_up import JOB, RUN
from todobatch import Task, run_batches
from todobatch.coordinator.journal import Journal


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["command", "engine"])
def test_the_command_killed_again_and_again_does_each_task_once(
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
    """Return the id of the child process that runs the job."""
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
        "nothing to do: all 3000 tasks of the journal are done"
        in run_todobatch(*RUN[:-1], cwd=tmp_path).stderr
    )
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert two["resumed_tasks"] == 3000
    assert {k: one[k] for k in ("digest", "result", "tasks", "worker_totals")} == {
        k: two[k] for k in ("digest", "result", "tasks", "worker_totals")
    }
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before


def test_a_finished_job_sweeps_what_a_kill_at_its_end_left(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    run_todobatch(*RUN, cwd=tmp_path)
    with TemporaryDirectory(dir="/tmp") as home:  # short, as sockets need it
        left = Path(home) / "todobatch-processes-left"
        left.mkdir()
        again = run_todobatch(*RUN[:-1], cwd=tmp_path, env={"TMPDIR": home})
        assert "nothing to do" in again.stderr
        assert not left.exists()


def test_another_executor_may_resume_the_job(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    """When threads crashed or hung, the job is resumed with processes."""
    with Journal(tmp_path / "j.db", JOB) as journal:
        run_batches([Task("a")], "validate", executor="threads", journal=journal)
    with Journal(tmp_path / "j.db", JOB) as journal:
        report = run_batches(
            [Task("a"), Task("b")], "validate", executor="sequential", batch_size=1, journal=journal
        )
    assert (report.tasks, report.resumed_tasks) == (2, 1)


def test_a_resumed_job_keeps_the_date_on_which_it_began(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.db", JOB):
        pass
    with Journal(tmp_path / "j.db", {**JOB, "today": "2027-01-01"}) as journal:
        assert journal.job["today"] == "2026-11-24"


@pytest.mark.parametrize("times", [1, 2])
def test_a_job_stopped_by_ctrl_c_is_saved_and_resumed(
    run_todobatch: RunTodobatch, tmp_path: Path, times: int
) -> None:
    """The first Ctrl-C saves the batches in flight; the second ends the job though one hangs."""
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
            if "finishing the batches in flight" in line:
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


def test_a_full_disk_is_an_error_that_says_what_is_saved_and_the_job_resumes(
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
    assert "remedy: free disk space and run the same job again" in done.stderr
    again = run_todobatch(*command, "-w", "mine:fill", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert document["tasks"] == 3000
    assert document["resumed_tasks"] > 0


def _with_filler(folder: Path) -> Path:
    """Write a processor whose aggregate grows with each batch, until it fills the disk."""
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
    ("arguments", "code", "part"),
    [
        (["--generate", "5", "--journal", "."], 2, "it is a folder"),
        (["--generate", "5", "--journal", "a", "-o", "a"], 2, "the file is also the output"),
        (["tasks.jsonl", "--journal", "tasks.jsonl"], 2, "the file is also the input"),
        (["--generate", "5", "--journal", "a", "-o", os.devnull], 2, "name a regular file"),
        (["--generate", "5", "--journal", "no/folder/j"], 6, "cannot be opened for writing"),
        (["--generate", "5", "--journal", "tasks.jsonl"], 6, "cannot be resumed"),
        (["--generate", "5", "--deadline", "1"], 2, "--executor processes"),
        (
            ["--generate", "5", "--retries", "-1"],
            2,
            "--retries: a batch cannot be retried -1 times",
        ),
        (["--generate", "5", "--backoff", "-1"], 2, "--backoff"),
        (["--generate", "5", "--no-progress", "0"], 2, "--no-progress"),
        (
            ["--generate", "5", "--order", "magic"],
            2,
            "--order takes input, priority or longest, not 'magic'",
        ),
        (
            ["--generate", "5", "--placement", "magic"],
            2,
            "--placement takes none or spread, not 'magic'",
        ),
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
