"""`todobatch run` when tasks fail, workers die, the GIL comes back or the disk is full."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import document_of
from tests.conftest import COMMAND, ROOT, RunTodobatch
from todobatch.lab.interpreters import Interpreter

EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("executor", ["sequential", "threads", "processes", "coroutines"])
def test_a_failing_task_is_named_and_all_else_is_done(
    run_todobatch: RunTodobatch, project: Path, executor: str
) -> None:
    out = project / "out.jsonl"
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:shout", "-e", executor, "--json", "-o", out, cwd=project
    )
    assert done.returncode == 1, done.stderr
    document = document_of(done.stdout)
    assert (document["tasks"], document["failed"]) == (4, 1)
    error = "RuntimeError: this one is too loud"
    frame = {"file": str(project / "mine.py"), "line": 10, "function": "shout"}
    assert document["failures"] == [{"task": 1, "title": "boom", "error": error, "frame": frame}]
    assert document["causes"] == [{"count": 1, "tasks": [1], "error": error, "frame": frame}]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("result") for row in rows] == ["FIRST", None, "THIRD", "LAST"]
    assert "too loud" in rows[1]["error"]
    assert not (project / "out.jsonl.part").exists()


def test_a_killed_worker_costs_one_batch(run_todobatch: RunTodobatch, project: Path) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:die", "-e", "processes", "--batch-size", "1", "--json",
        cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    document = document_of(done.stdout)
    assert (document["tasks"], document["failed"]) == (4, 1)
    assert "batch 1 (tasks 1 to 1)" in document["errors"][0]
    assert "SIGKILL" in document["errors"][0]


@pytest.mark.interpreters
def test_a_killed_worker_is_not_taken_for_a_gil_that_came_back(
    run_todobatch: RunTodobatch, python314t: Interpreter, project: Path
) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:die", "-e", "processes", "--batch-size", "1", "--json",
        interpreter=python314t, cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    document = document_of(done.stdout)
    assert document["gil_enabled"] is False
    pids = [worker["pid"] for worker in document["worker_totals"]]
    assert pids
    assert all(pids)


def test_tasks_that_kill_or_hang_their_worker_are_found_singly_and_all_else_is_done(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    """The result equals that of a run in which these two tasks raise an exception."""
    (project / "poison.py").write_text(
        "import os, signal, threading\n"
        "def work(task):\n"
        "    if task.title == 'task 13':\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if task.title == 'task 31':\n"
        "        threading.Event().wait()\n"
        "    return task.title\n"
        "def fail(task):\n"
        "    if task.title in {'task 13', 'task 31'}:\n"
        "        raise RuntimeError('no')\n"
        "    return task.title\n"
    )
    (project / "many.txt").write_text("".join(f"task {n}\n" for n in range(40)))
    common = ("many.txt", "--batch-size", "8", "--json")
    done = run_todobatch(
        "run", *common, "-w", "poison:work", "-e", "processes", "--deadline", "0.5",
        "--retries", "1", "--backoff", "0.01", "-o", "out.jsonl", "--journal", "j.db", cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    document = document_of(done.stdout)
    aside = {each["task"]: each["error"] for each in document["set_aside_tasks"]}
    assert set(aside) == {13, 31}
    assert "SIGSEGV" in aside[13]
    assert "deadline" in aside[31]
    searched = 2 * (1 + 1 + 3)  # what it costs to search the batch by halves
    assert 2 * (1 + 1) <= document["replaced"] < searched
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == list(range(40))
    assert {row["task"]: row["error"] for row in rows if "error" in row} == aside
    plain = run_todobatch("run", *common, "-w", "poison:fail", cwd=project)
    expected = document_of(plain.stdout)
    for name in ("digest", "result", "tasks", "failed", "batches", "failed_batches"):
        assert document[name] == expected[name], name
    assert (expected["set_aside"], expected["retried"], expected["journal"]) == (0, 0, None)


def test_a_baseline_that_fails_costs_the_speedup_only(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:die", "-e", "processes", "--batch-size", "1", "--json",
        "--baseline", cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "the sequential run, for the speed-up, failed" in done.stderr
    assert document_of(done.stdout)["speedup"] is None


def test_a_crash_of_the_whole_process_is_an_error_with_a_remedy(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch("run", "todo.txt", "-w", "mine:die", "-e", "threads", cwd=project)
    assert done.returncode == 5
    assert "was killed (SIGKILL)" in done.stderr
    assert "--executor processes" in done.stderr


@pytest.mark.interpreters
def test_a_gil_that_comes_back_is_an_error(
    run_todobatch: RunTodobatch, python314t: Interpreter, project: Path
) -> None:
    (project / "old.py").write_text("def work(task):\n    import gil_module\n    return 1\n")
    _build_module_without_gil_support(project, python314t)
    done = run_todobatch(
        "run", "todo.txt", "-w", "old:work", "--json", interpreter=python314t, cwd=project
    )
    assert done.returncode == 5, done.stderr
    assert "the GIL was off at the start and on at the end" in done.stderr
    assert "gil_module" in done.stderr
    assert document_of(done.stdout)["gil_enabled"] is True


def _build_module_without_gil_support(folder: Path, python: Interpreter) -> None:
    source = folder / "gil_module.c"
    source.write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "gil_module"};\n'
        "PyMODINIT_FUNC PyInit_gil_module(void) { return PyModule_Create(&m); }\n"
    )
    ask = (
        "import sysconfig as s; print(s.get_path('include')); print(s.get_config_var('EXT_SUFFIX'))"
    )
    found = subprocess.run(
        [python.executable, "-c", ask], check=True, capture_output=True, text=True
    )
    include, suffix = found.stdout.split()
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{include}", source, "-o", folder / f"gil_module{suffix}"],
        check=True,
    )


@pytest.mark.interpreters
def test_a_gil_that_was_asked_for_is_no_error(
    run_todobatch: RunTodobatch, python314t: Interpreter
) -> None:
    done = run_todobatch(
        "run", EXAMPLES / "todo.txt", "--json", interpreter=python314t, env={"PYTHON_GIL": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert document_of(done.stdout)["gil_enabled"] is True


def test_an_aggregate_that_is_no_json_is_an_error_with_a_remedy(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    (project / "sums.py").write_text(
        "from dataclasses import replace\n"
        "from todobatch import TaskBatchProcessor\n"
        "class Sums(TaskBatchProcessor):\n"
        "    name = 'sums'\n"
        "    def process_task(self, task):\n"
        "        return task.title\n"
        "    def process_batch(self, tasks):\n"
        "        return replace(super().process_batch(tasks), partial={'seen': {1, 2}})\n"
    )
    done = run_todobatch("run", "todo.txt", "-w", "sums:Sums", "-o", "out.jsonl", cwd=project)
    assert done.returncode == 2, done.stderr
    assert "processor sums: its aggregate is not JSON: TypeError" in done.stderr
    assert "the tasks are done, and their rows are in the --output" in done.stderr
    assert len((project / "out.jsonl").read_text().splitlines()) == 4


def test_a_full_disk_is_an_error_that_says_what_is_saved(project: Path) -> None:
    limited = 'ulimit -f 8; exec "$0" run --generate 5000 --no-baseline -o out.jsonl'
    done = subprocess.run(
        ["sh", "-c", limited, str(COMMAND)],
        check=False, cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "out.jsonl.part: cannot be written: File too large" in done.stderr
    assert "tasks are saved" in done.stderr
    assert "remedy: raise the limit of a file's size" in done.stderr
    assert not (project / "out.jsonl").exists()
