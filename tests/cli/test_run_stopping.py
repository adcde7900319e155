"""`todobatch run` when it is interrupted, killed, or nothing comes back."""

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import document_of, processes_below, wait_for
from tests.conftest import COMMAND, RunTodobatch
from todobatch.lab.interpreters import Interpreter

LEAST_READ = 1 << 21
"""Many times what a pipe holds: when so much is written, the job is reading."""
MOST_READ = 1 << 32


def begin(project: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start `todobatch run --json` in a user's folder."""
    return subprocess.Popen(
        [str(COMMAND), "run", *arguments, "--json"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until_stopping(process: "subprocess.Popen[str]") -> None:
    """Wait until the command says that it finishes the batches in flight."""
    assert process.stderr is not None
    for line in process.stderr:
        if "finishing the batches in flight" in line:
            return
    raise AssertionError("it ended without saying so")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_finish_the_batches_in_flight_and_keep_them(
    project: Path, stop: signal.Signals
) -> None:
    out = project / "out.jsonl"
    started = project / "started"
    process = begin(
        project, "--generate", "1000000", "-w", "mine:wait_for_go", "-n", "2", "--batch-size", "1",
        "-o", str(out),
    )  # fmt: skip
    try:
        wait_for(started.exists, process)
        process.send_signal(stop)
        wait_until_stopping(process)
        (project / "go").touch()
        stdout, rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    document = document_of(stdout)
    assert document["interrupted"] is True
    assert 0 < document["tasks"] < 1000
    counts = f"tasks={document['tasks']} failed=0 set_aside=0"
    end = rest.splitlines()[-1]
    assert (end.startswith(f"finished: {counts} "), end.endswith(" exit=130")) == (True, True), rest
    part = Path(document["output"])
    assert part.name == "out.jsonl.part"
    assert len(part.read_text().splitlines()) == document["tasks"]


@pytest.mark.parametrize("piece", [b"x", b"\n", b"\0\n"], ids=["long", "blank", "broken"])
@pytest.mark.parametrize("format_name", ["todotxt", "jsonl", "csv", "taskwarrior"])
def test_one_ctrl_c_ends_the_reading_of_an_input_without_tasks_or_end(
    project: Path, format_name: str, piece: bytes
) -> None:
    """No batch is in flight then, and none would ever be read."""
    ends: list[bytes] = []
    with subprocess.Popen(
        [str(COMMAND), "run", "-", "--format", format_name, "--no-baseline"],
        cwd=project, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stderr is not None
        drain = threading.Thread(target=ends.extend, args=(process.stderr,))
        drain.start()
        pipe = process.stdin.fileno()
        written = os.write(pipe, b"title\n" if format_name == "csv" else b"")
        try:
            while written < LEAST_READ:
                written += os.write(pipe, piece * (65_536 // len(piece)))
            process.send_signal(signal.SIGINT)
            while written < MOST_READ:
                written += os.write(pipe, piece * (65_536 // len(piece)))
        except BrokenPipeError:
            pass
        process.kill() if written >= MOST_READ else process.wait(60)
        drain.join()
    assert process.returncode == 130, ends[-5:]
    assert ends[-1].startswith(b"finished: tasks=0 failed=0 "), ends[-5:]
    assert not any(b"bug" in line or b"error: " in line for line in ends)


@pytest.mark.parametrize("executor", ["threads", "sequential", "coroutines"])
def test_a_batch_that_holds_the_gil_is_no_progress_too(
    run_todobatch: RunTodobatch, project: Path, executor: str
) -> None:
    """Only another process can notice that: no other thread of the job's process runs."""
    (project / "holds.txt").write_text("one\ntwo\nboom now\nfour\n")
    done = run_todobatch(
        "run", "holds.txt", "-w", "mine:hold_the_gil", "-e", executor, "-n", "1",
        "--batch-size", "1", "--no-progress", "0.5", "--journal", "j.db", "-o", "out.jsonl",
        cwd=project,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert f"executor {executor}: no batch came back for 0.5 s" in done.stderr
    assert "holds the GIL" in done.stderr
    assert "tasks are done and saved in j.db" in done.stderr
    assert "choose --executor processes and pass --deadline" in done.stderr
    # An executor that can stop the batch resumes the job from what was saved.
    again = run_todobatch(
        "run", "holds.txt", "-w", "mine:hold_the_gil", "-e", "processes", "--deadline", "0.5",
        "--batch-size", "1", "--retries", "0", "--journal", "j.db", "-o", "out.jsonl", "--json",
        cwd=project,
    )  # fmt: skip
    document = document_of(again.stdout)
    assert (document["tasks"], document["failed"], document["set_aside"]) == (4, 1, 1)
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == [0, 1, 2, 3]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_batch_that_holds_the_gil(
    project: Path, second: signal.Signals
) -> None:
    (project / "holds.txt").write_text("one\nboom now\n")
    process = begin(project, "holds.txt", "-w", "mine:hold_the_gil")
    try:
        wait_for((project / "started").exists, process)
        (engine,) = processes_below(process.pid)
        process.send_signal(signal.SIGINT)
        wait_until_stopping(process)
        process.send_signal(second)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    end = rest.splitlines()[-1]
    assert (end.startswith("finished: tasks="), end.endswith(" exit=130")) == (True, True), rest
    assert not Path(f"/proc/{engine}").exists()


@pytest.mark.interpreters
def test_sigterm_to_all_processes_at_once_is_one_signal(
    project: Path, python314t: Interpreter
) -> None:
    """A service manager sends it to the command and to the job's process."""
    process = begin(
        project, "--generate", "1000000", "-w", "mine:wait_for_go", "--batch-size", "1",
        "--interpreter", str(python314t.executable),
    )  # fmt: skip
    try:
        wait_for((project / "started").exists, process)
        for pid in [*processes_below(process.pid), process.pid]:
            os.kill(pid, signal.SIGTERM)
        wait_until_stopping(process)
        (project / "go").touch()
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert document_of(stdout)["interrupted"] is True


def test_a_child_that_a_task_forks_ends_at_sigterm(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    (project / "forks.py").write_text(
        "import os, signal\n"
        "def work(task):\n"
        "    reader, writer = os.pipe()\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.write(writer, b'x')\n"
        "        signal.pause()\n"
        "    os.read(reader, 1)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    return os.WTERMSIG(os.waitpid(child, 0)[1])\n"
    )
    done = run_todobatch(
        "run", "todo.txt", "-w", "forks:work", "-e", "sequential", "-o", "out.jsonl", cwd=project
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert [row["result"] for row in rows] == [signal.SIGTERM] * 4


def test_a_process_that_only_waits_its_turn_is_not_taken_for_one_that_hangs(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    """The whole run takes far longer than the watchdog's limit, but batches keep coming back."""
    done = run_todobatch(
        "run", "--generate", "400", "-w", "example8", "-n", "40", "--batch-size", "1",
        "--no-progress", "1", "--no-baseline", "--json", cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert document_of(done.stdout)["tasks"] == 400


def test_when_the_command_is_killed_its_workers_end_too(project: Path) -> None:
    started = project / "started"
    process = subprocess.Popen(
        [str(COMMAND), "run", "--generate", "100", "-w", "mine:wait_for_go", "-e", "processes"],
        cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(started.exists, process)
        workers = processes_below(process.pid)
        assert workers
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), None)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_last_task_loses_no_report(project: Path, stop: signal.Signals) -> None:
    """The job's process waits at its end for the file `go`, when the report has been sent."""
    (project / "ends.py").write_text(
        "import atexit, pathlib, time\n"
        "def wait():\n"
        "    pathlib.Path('ends').touch()\n"
        "    while not pathlib.Path('go').exists():\n"
        "        time.sleep(0.01)\n"
        "atexit.register(wait)\n"
        "def work(task):\n"
        "    return 1\n"
    )
    process = begin(project, "--generate", "3", "-w", "ends:work", "-e", "sequential")
    try:
        wait_for((project / "ends").exists, process)
        process.send_signal(stop)
        stdout, said = process.communicate(timeout=60)
    finally:
        (project / "go").touch()
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert document_of(stdout)["tasks"] == 3
    assert said.splitlines()[-1].endswith(" exit=0")
