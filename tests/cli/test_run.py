"""`todobatch run`, as a user types it, on the real interpreters."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMAND, ROOT, RunTodobatch
from todobatch.lab.interpreters import Interpreter

EXAMPLES = ROOT / "examples"
EXECUTORS = ["sequential", "threads", "interpreters", "processes", "coroutines"]
DOCUMENT = {
    "executor", "workers", "interpreter", "gil_enabled", "tasks", "failed", "wall_s", "cpu_s",
    "peak_bytes", "digest", "batches",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's own folder with a workload in it."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            '''
            """A user's own workload."""
            import ctypes
            import os
            import pathlib
            import signal

            def shout(task):
                if "boom" in task.title:
                    raise RuntimeError("this one is too loud")
                return task.title.upper()

            async def whisper(task):
                return task.title.lower()

            def touch(task):
                with open("touched", "a") as file:
                    file.write(task.title + "\\n")
                return None

            def die(task):
                if "boom" in task.title:
                    os.kill(os.getpid(), signal.SIGKILL)
                return task.title

            def hold_the_gil(task):
                if task.title == "boom now":
                    pathlib.Path("started").touch()
                    ctypes.PyDLL(None).sleep(600)
                return task.title

            def wait_for_go(task):
                pathlib.Path("started").touch()
                while not pathlib.Path("go").exists():
                    pass
                return task.title
            '''
        )
    )
    (tmp_path / "todo.txt").write_text("(A) first +p\nboom\nx 2026-01-02 2026-01-01 third\nlast\n")
    return tmp_path


def _document(stdout: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stdout)
    return document


@pytest.mark.interpreters
def test_every_executor_gives_one_digest_on_both_interpreters(
    run_todobatch: RunTodobatch, python314: Interpreter, python314t: Interpreter
) -> None:
    digests = set()
    for python in (python314, python314t):
        for executor in EXECUTORS:
            done = run_todobatch(
                "run", EXAMPLES / "todo.txt", "--executor", executor, "--workers", "4",
                "--batch-size", "9", "--json", interpreter=python,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            document = _document(done.stdout)
            assert set(document) >= DOCUMENT
            assert (document["executor"], document["workers"]) == (executor, 4)
            assert document["failed"] == document["skipped"] == 0
            assert document["gil_enabled"] is (python is python314)
            assert document["cpu_s"] > 0
            assert document["peak_bytes"] > 1_000_000
            assert document["speedup"] > 0
            digests.add(document["digest"])
    assert len(digests) == 1


def test_the_summary_has_banner_workers_totals_and_a_measured_speedup(
    run_todobatch: RunTodobatch,
) -> None:
    done = run_todobatch("run", "--generate", "400", "-w", "example8", "-n", "2")
    assert done.returncode == 0, done.stderr
    assert f"Python {sys.version.split()[0]}, GIL on, " in done.stderr
    assert "example8 on threads, 2 workers" in done.stderr
    for part in ("thread-1", "thread-2", "CPU time", "at its peak, in all processes", "tasks/s"):
        assert part in done.stdout
    assert "over a sequential run of the same batches" in done.stdout


def test_the_report_has_what_each_worker_did(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch(
        "run", "--generate", "400", "-n", "2", "-e", "processes", "--no-baseline", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = _document(done.stdout)
    totals = {each["worker"]: each for each in document["worker_totals"]}
    assert len(document["worker_stats"]) == 2
    for each in document["worker_stats"]:
        assert each["busy_s"] >= totals.get(each["worker"], {"busy_s": 0.0})["busy_s"]
        whole = each["busy_s"] + each["idle_s"] + each["parked_s"]
        assert each["efficiency"] == pytest.approx(each["busy_s"] / whole)
    assert (document["least_workers"], document["resizes"]) == (None, [])


def test_a_range_of_workers_is_for_the_pool_that_sizes_itself(run_todobatch: RunTodobatch) -> None:
    common = ("run", "--generate", "400", "--no-baseline", "--workers", "2-3")
    done = run_todobatch(*common)
    assert done.returncode == 0, done.stderr
    assert "pipeline on elastic, 2 to 3 workers" in done.stderr
    assert "workers   2" in done.stdout
    document = _document(run_todobatch(*common, "-e", "elastic", "--json").stdout)
    assert (document["executor"], document["least_workers"], document["workers"]) == (
        "elastic", 2, 3,
    )  # fmt: skip
    first, *others = document["resizes"]
    assert first == {"at_s": 0.0, "size": 2, "rate": None} | {"at_s": first["at_s"]}
    assert all(2 <= each["size"] <= 3 for each in others)


def test_costs_of_one_run_order_the_next(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    costs, rows = tmp_path / "costs.json", tmp_path / "rows.jsonl"
    common = ("run", "--generate", "60", "--batch-size", "10", "-n", "1", "--costs", costs)
    first = run_todobatch(*common, "--json")
    assert first.returncode == 0, first.stderr
    kept = json.loads(costs.read_text())
    assert [row[:3] for row in kept["batches"]] == [[n, 10 * n, 10] for n in range(6)]
    kept["batches"][4][3] = 1e6  # as if it had been the longest by far
    del kept["batches"][2]
    costs.write_text(json.dumps(kept))
    second = run_todobatch(*common, "--order", "longest", "-o", rows, "--json")
    assert second.returncode == 0, second.stderr
    done = [json.loads(line)["task"] // 10 for line in rows.read_text().splitlines()]
    assert list(dict.fromkeys(done))[:2] == [2, 4]  # what is not known, then the longest
    before, after = _document(first.stdout), _document(second.stdout)
    assert before["digest"] == after["digest"]
    assert (before["order"], after["order"]) == ("input", "longest")
    assert after["costs"] == {"file": str(costs), "before": 5, "measured": 6}
    assert len(json.loads(costs.read_text())["batches"]) == 6


def test_a_file_of_costs_that_does_not_fit_is_refused(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    run_todobatch("run", "todo.txt", "--no-baseline", "--batch-size", "2", "--costs", "c.json",
                  cwd=project)  # fmt: skip
    kept = (project / "c.json").read_text()
    for arguments, code, part in (
        (["--costs", "c.json"], 2, "batches[1]: batch 1 begins at task 2 and has 2 tasks;"),
        (
            ["--costs", "c.json", "--batch-size", "2", "-w", "report"],
            2,
            "those of 'pipeline'",
        ),
        (["--costs", "mine.py"], 6, "mine.py, line 2"),
        (["--costs", "todo.txt"], 2, "the file is also the input"),
        (["--costs", "c.json", "-o", "c.json"], 2, "the file is also the output"),
        (["--costs", "no/folder"], 2, "there is no such folder"),
        (["--order", "longest"], 2, "pass --costs"),
    ):
        done = run_todobatch("run", "todo.txt", *arguments, cwd=project)
        assert (done.returncode, part in done.stderr) == (code, True), done.stderr
        assert (project / "c.json").read_text() == kept


def test_a_broken_line_is_named_and_skipped_or_refused(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    broken = tmp_path / "todo.txt"
    broken.write_text("(A) fine\nbad due:2026-02-30\nalso fine\n")
    done = run_todobatch("run", broken, "--json")
    assert done.returncode == 0
    assert f"{broken}:2" in done.stderr
    document = _document(done.stdout)
    assert (document["tasks"], document["failed"], document["skipped"]) == (2, 0, 1)
    assert document["skipped_records"][0]["line"] == 2
    strict = run_todobatch("run", broken, "--strict")
    assert strict.returncode == 2
    assert f"{broken}:2" in strict.stderr
    assert "2026-02-30" in strict.stderr


@pytest.mark.parametrize("executor", ["sequential", "threads", "processes", "coroutines"])
def test_a_failing_task_is_named_and_all_else_is_done(
    run_todobatch: RunTodobatch, project: Path, executor: str
) -> None:
    out = project / "out.jsonl"
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:shout", "-e", executor, "--json", "-o", out, cwd=project
    )
    assert done.returncode == 1, done.stderr
    document = _document(done.stdout)
    assert (document["tasks"], document["failed"]) == (4, 1)
    assert document["failures"] == [
        {"task": 1, "title": "boom", "error": "RuntimeError: this one is too loud"}
    ]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("result") for row in rows] == ["FIRST", None, "THIRD", "LAST"]
    assert "too loud" in rows[1]["error"]
    assert not (project / "out.jsonl.part").exists()


def test_an_async_function_is_a_workload_too(run_todobatch: RunTodobatch, project: Path) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:whisper", "-e", "coroutines", "--json", cwd=project
    )
    assert done.returncode == 0, done.stderr
    assert _document(done.stdout)["failed"] == 0


def test_a_workload_of_ones_own_is_not_run_twice_unless_asked(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch("run", "todo.txt", "-w", "mine:touch", "--json", cwd=project)
    assert _document(done.stdout)["speedup"] is None
    assert len((project / "touched").read_text().splitlines()) == 4
    run_todobatch("run", "todo.txt", "-w", "mine:touch", "--baseline", cwd=project)
    assert len((project / "touched").read_text().splitlines()) == 12


def test_a_killed_worker_costs_one_batch(run_todobatch: RunTodobatch, project: Path) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:die", "-e", "processes", "--batch-size", "1", "--json",
        cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    document = _document(done.stdout)
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
    document = _document(done.stdout)
    assert document["gil_enabled"] is False
    pids = [worker["pid"] for worker in document["worker_totals"]]
    assert pids
    assert all(pids)


def test_tasks_that_kill_or_hang_their_worker_are_found_singly_and_all_else_is_done(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    """The whole is what it is where these two fail by an exception."""
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
    document = _document(done.stdout)
    aside = {each["task"]: each["error"] for each in document["set_aside_tasks"]}
    assert set(aside) == {13, 31}
    assert "SIGSEGV" in aside[13]
    assert "deadline" in aside[31]
    assert document["replaced"] >= 2 * (1 + 1 + 3)
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == list(range(40))
    assert {row["task"]: row["error"] for row in rows if "error" in row} == aside
    plain = run_todobatch("run", *common, "-w", "poison:fail", cwd=project)
    expected = _document(plain.stdout)
    for name in ("digest", "result", "tasks", "failed", "batches", "failed_batches"):
        assert document[name] == expected[name], name
    assert (expected["set_aside"], expected["retried"], expected["journal"]) == (0, 0, None)


def test_workers_are_kept_on_a_cpu_each_where_that_is_asked_for(
    run_todobatch: RunTodobatch,
) -> None:
    done = run_todobatch(
        "run", "--generate", "2000", "--placement", "spread", "--no-baseline", "--json"
    )
    assert done.returncode == 0, done.stderr
    totals = _document(done.stdout)["worker_totals"]
    assert totals
    assert all(len(worker["cpus"]) == 1 for worker in totals)


def test_a_baseline_that_fails_costs_the_speedup_only(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:die", "-e", "processes", "--batch-size", "1", "--json",
        "--baseline", cwd=project,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "the sequential run, for the speed-up, failed" in done.stderr
    assert _document(done.stdout)["speedup"] is None


def test_output_never_destroys_what_it_was_not_meant_for(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    for output in ("todo.txt", "."):
        done = run_todobatch("run", "todo.txt", "-o", output, cwd=project)
        assert done.returncode == 2, done.stderr
        assert "--output" in done.stderr
    assert (project / "todo.txt").read_text().startswith("(A) first")
    (project / "kept.jsonl").write_text("an earlier result\n")
    (project / "empty.txt").touch()
    assert run_todobatch("run", "empty.txt", "-o", "kept.jsonl", cwd=project).returncode == 2
    assert (project / "kept.jsonl").read_text() == "an earlier result\n"
    done = run_todobatch("run", "todo.txt", "--no-baseline", "-o", os.devnull, cwd=project)
    assert done.returncode == 0, done.stderr
    assert Path(os.devnull).is_char_device()


def test_a_pipe_is_read_once_and_used_twice(run_todobatch: RunTodobatch, project: Path) -> None:
    os.mkfifo(project / "pipe")
    feeder = subprocess.Popen(["sh", "-c", "cat todo.txt > pipe"], cwd=project)
    done = run_todobatch("run", "pipe", "--format", "todotxt", "--json", cwd=project)
    assert feeder.wait(10) == 0
    assert done.returncode == 0, done.stderr
    assert _document(done.stdout)["tasks"] == 4
    assert _document(done.stdout)["speedup"] > 0


def test_a_line_number_stays_a_number(run_todobatch: RunTodobatch, project: Path) -> None:
    (project / "many.txt").write_text("fine\n" * 99 + "bad due:2026-02-30\n")
    done = run_todobatch("run", "many.txt", "--no-baseline", cwd=project)
    assert "many.txt:100: " in done.stderr


def test_what_reads_our_output_may_stop_reading(project: Path) -> None:
    command = f'"{COMMAND}" run todo.txt --no-baseline 2>/dev/null | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command], check=True, cwd=project, capture_output=True, text=True
    )
    assert done.stdout.strip() in {"0", "1"}  # 1 where the reader was gone before the first line


def test_a_crash_of_the_whole_process_is_an_error_with_a_remedy(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch("run", "todo.txt", "-w", "mine:die", "-e", "threads", cwd=project)
    assert done.returncode == 5
    assert "was killed (SIGKILL)" in done.stderr
    assert "--executor processes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([], 2, ["give either a file of tasks or --generate N"]),
        (["todo.txt", "--generate", "5"], 2, ["both a file"]),
        (["--generate", "0"], 2, ["--generate: 0 tasks"]),
        (["--generate", "5", "--workers", "0"], 2, ["0 workers", "from 1 to 1000"]),
        (["--generate", "5", "--workers", "10000"], 2, ["10000 workers", "CPUs"]),
        (["--generate", "5", "--workers", "many"], 2, ["'many'", "--workers", "such as 1-8"]),
        (["--generate", "5", "--workers", "3-1"], 2, ["from 3 to 1 workers is not a range"]),
        (["--generate", "5", "--workers", "0-2"], 2, ["from 0 to 2 workers is not a range"]),
        (
            ["--generate", "5", "--workers", "1-3", "-e", "threads"],
            2,
            ["threads needs a fixed number of workers", "--executor elastic", "--workers 3"],
        ),
        (["--generate", "5", "--batch-size", "0"], 2, ["--batch-size"]),
        (["--generate", "5", "--executor", "magic"], 2, ["'magic'", "threads"]),
        (["--generate", "5", "--workload", "magic"], 2, ["'magic'", "example8"]),
        (["--generate", "5", "--workload", "mine:nothing"], 2, ["no attribute 'nothing'"]),
        (["nowhere.txt"], 2, ["nowhere.txt"]),
        (["mine.py"], 2, ["mine.py", "--format"]),
        (["empty.txt"], 2, ["empty.txt", "no task"]),
        (["todo.txt", "--interpreter", "3.99"], 4, ["3.99"]),
        (["todo.txt", "--interpreter", "./mine.py"], 4, ["mine.py"]),
        (["todo.txt", "--output", "no/such/folder/out"], 6, ["no/such/folder", "--output"]),
        (["--generate", "x"], 2, ["--generate"]),
    ],
)
def test_bad_input_is_refused_with_cause_place_and_exit_code(
    run_todobatch: RunTodobatch, project: Path, arguments: list[str], code: int, parts: list[str]
) -> None:
    (project / "empty.txt").touch()
    done = run_todobatch("run", *arguments, cwd=project)
    assert done.returncode == code, done.stderr
    for part in parts:
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_an_executor_that_is_not_available_says_why(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("run", "--generate", "5", "-e", "interpreters")
    if sys.version_info >= (3, 14):
        assert done.returncode == 0
        return
    assert done.returncode == 4
    assert "needs Python 3.14; this is 3." in done.stderr
    assert "--interpreter" in done.stderr


def test_standard_input_can_be_read(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("run", "-", "--format", "todotxt", "--json", stdin="one\ntwo\n")
    assert done.returncode == 0, done.stderr
    assert _document(done.stdout)["tasks"] == 2


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
    assert _document(done.stdout)["gil_enabled"] is True


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
    assert _document(done.stdout)["gil_enabled"] is True


def test_ctrl_c_finishes_what_is_under_way_and_keeps_it(project: Path) -> None:
    out = project / "out.jsonl"
    started = project / "started"
    process = subprocess.Popen(
        [str(COMMAND), "run", "--generate", "1000000", "-w", "mine:wait_for_go", "-n", "2",
         "--batch-size", "1", "--json", "-o", str(out)],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _wait_for(started.exists, process)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        for line in process.stderr:
            if "finishing the batches in flight" in line:
                break
        (project / "go").touch()
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    document = _document(stdout)
    assert document["interrupted"] is True
    assert 0 < document["tasks"] < 1000
    part = Path(document["output"])
    assert part.name == "out.jsonl.part"
    assert len(part.read_text().splitlines()) == document["tasks"]


@pytest.mark.parametrize("executor", ["threads", "sequential", "coroutines"])
def test_a_batch_that_holds_the_gil_is_no_progress_too(
    run_todobatch: RunTodobatch, project: Path, executor: str
) -> None:
    """Only from outside can it be seen: no other thread of that process runs."""
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
    # What was saved is gone on with, by an executor that can stop it.
    again = run_todobatch(
        "run", "holds.txt", "-w", "mine:hold_the_gil", "-e", "processes", "--deadline", "0.5",
        "--batch-size", "1", "--retries", "0", "--journal", "j.db", "-o", "out.jsonl", "--json",
        cwd=project,
    )  # fmt: skip
    document = _document(again.stdout)
    assert (document["tasks"], document["failed"], document["set_aside"]) == (4, 1, 1)
    rows = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert sorted(row["task"] for row in rows) == [0, 1, 2, 3]


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


def test_a_second_ctrl_c_ends_a_batch_that_holds_the_gil(project: Path) -> None:
    (project / "holds.txt").write_text("one\nboom now\n")
    process = subprocess.Popen(
        [str(COMMAND), "run", "holds.txt", "-w", "mine:hold_the_gil", "--json"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        _wait_for((project / "started").exists, process)
        (engine,) = _session_of_child(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        for line in process.stderr:
            if "finishing the batches in flight" in line:
                break
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert not Path(f"/proc/{engine}").exists()


def test_a_process_that_only_waits_its_turn_is_not_taken_for_one_that_hangs(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    """The watchdog's limit is far below what it takes all in all, and batches come back."""
    done = run_todobatch(
        "run", "--generate", "400", "-w", "example8", "-n", "40", "--batch-size", "1",
        "--no-progress", "1", "--no-baseline", "--json", cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert _document(done.stdout)["tasks"] == 400


def test_a_full_disk_is_an_error_that_says_what_is_saved(project: Path) -> None:
    limited = 'ulimit -f 8; exec "$0" run --generate 5000 --no-baseline -o out.jsonl'
    done = subprocess.run(
        ["sh", "-c", limited, str(COMMAND)],
        check=False, cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "out.jsonl.part: cannot be written: File too large" in done.stderr
    assert "tasks are saved" in done.stderr
    assert "remedy: free disk space" in done.stderr
    assert not (project / "out.jsonl").exists()


def test_when_the_command_is_killed_its_workers_end_too(project: Path) -> None:
    started = project / "started"
    process = subprocess.Popen(
        [str(COMMAND), "run", "--generate", "100", "-w", "mine:wait_for_go", "-e", "processes"],
        cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(started.exists, process)
        workers = _session_of_child(process.pid)
        assert workers
    finally:
        process.kill()
        process.wait()
    _wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), None)


def _session_of_child(pid: int) -> list[int]:
    """Every process below `pid`, from the process table."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below = [pid]
    for one in below:
        below += [child for child, parent in parents.items() if parent == one]
    return below[1:]


def _wait_for(condition: Callable[[], bool], process: "subprocess.Popen[Any] | None") -> None:
    """Poll; the test's watchdog bounds it."""
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended early with {process.returncode}")
        os.sched_yield()


def test_help_names_every_command(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("--help")
    assert done.returncode == 0
    for command in ("run", "bench", "show", "report", "interpreters"):
        assert command in done.stdout


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys; from todobatch.cli import app; "
        "heavy = {'numpy', 'pandas', 'scipy', 'pyperf', 'altair', 'asyncio', 'multiprocessing', "
        "'psutil', 'rich.progress'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_the_help_names_every_workload_and_executor(run_todobatch: RunTodobatch) -> None:
    from todobatch.executors import EXECUTORS
    from todobatch.processors import WORKLOADS

    said = " ".join(run_todobatch("run", "--help", env={"COLUMNS": "200"}).stdout.split())
    said = said.replace("- ", "-")  # where a line was broken
    for name in (*WORKLOADS, *EXECUTORS):
        assert name in said
