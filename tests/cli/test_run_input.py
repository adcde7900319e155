"""`todobatch run`: what it reads, what it refuses, and how it says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import document_of
from tests.conftest import RunTodobatch


def test_a_broken_line_is_named_and_skipped_or_refused(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    broken = tmp_path / "todo.txt"
    broken.write_text("(A) fine\nbad due:2026-02-30\nalso fine\n")
    done = run_todobatch("run", broken, "--json")
    assert done.returncode == 0
    assert f"{broken}:2" in done.stderr
    document = document_of(done.stdout)
    assert (document["tasks"], document["failed"], document["skipped"]) == (2, 0, 1)
    assert document["skipped_records"][0]["line"] == 2
    strict = run_todobatch("run", broken, "--strict")
    assert strict.returncode == 2
    assert f"{broken}:2" in strict.stderr
    assert "2026-02-30" in strict.stderr


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
    assert document_of(done.stdout)["tasks"] == 4
    assert document_of(done.stdout)["speedup"] > 0


def test_a_line_number_stays_a_number(run_todobatch: RunTodobatch, project: Path) -> None:
    (project / "many.txt").write_text("fine\n" * 99 + "bad due:2026-02-30\n")
    done = run_todobatch("run", "many.txt", "--no-baseline", cwd=project)
    assert "many.txt:100: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([], 2, ["neither a file of tasks nor --generate was given"]),
        (["todo.txt", "--generate", "5"], 2, ["both a file"]),
        (["--generate", "0"], 2, ["--generate: cannot generate 0 tasks"]),
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
        (["--generate", "5", "--workload", "mine:nothing"], 2, ["module mine has no nothing"]),
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
    assert document_of(done.stdout)["tasks"] == 2


def test_errors_name_the_users_input_and_not_our_copy_of_it(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    run = ("run", "--format", "todotxt", "--no-baseline")
    done = run_todobatch(*run, "-", stdin="due: x\nfine\n")
    assert "skipped standard input:1: 'due:' has no value" in done.stderr
    assert "standard input: the input contains no task" in run_todobatch(*run, "-", stdin="").stderr
    os.mkfifo(project / "pipe")
    feeder = subprocess.Popen(["sh", "-c", "echo due: > pipe"], cwd=project)
    done = run_todobatch(*run, "pipe", cwd=project)
    assert feeder.wait(10) == 0
    assert "skipped pipe:1:" in done.stderr


def test_many_broken_records_are_summarised(run_todobatch: RunTodobatch) -> None:
    lines = ["due:"] * 500 + ["fine"]
    done = run_todobatch("run", "-", "--format", "todotxt", "--no-baseline", stdin="\n".join(lines))
    assert done.returncode == 0
    said = [line for line in done.stderr.splitlines() if "skipped" in line]
    assert [f"standard input:{number}:" in line for number, line in enumerate(said, start=1)] == [
        *([True] * 10), False
    ]  # fmt: skip
    assert "skipped more broken records: the report counts them" in said[-1]
    assert "500 broken records skipped" in done.stdout


def test_costs_are_saved_where_the_job_began(run_todobatch: RunTodobatch, project: Path) -> None:
    (project / "moves.py").write_text("import os\ndef go(task):\n    os.chdir('/')\n")
    run = ("run", "todo.txt", "-w", "moves:go", "-e", "threads", "--costs", "c.json")
    done = run_todobatch(*run, cwd=project)
    assert done.returncode == 0
    assert "c.json: 1 batch measured, 0 known before\n" in done.stdout
    assert (project / "c.json").is_file()


@pytest.mark.parametrize("journal", [(), ("--journal", "j.db")])
def test_costs_that_cannot_be_saved_at_the_end_cost_nothing_else(
    run_todobatch: RunTodobatch, project: Path, journal: tuple[str, ...]
) -> None:
    (project / "takes.py").write_text(
        "import os\n\ndef name(task):\n    os.makedirs('c.json', exist_ok=True)\n"
    )
    run = ("run", "todo.txt", "-w", "takes:name", "-e", "threads", "--costs", "c.json", *journal)
    done = run_todobatch(*run, "-o", "out.jsonl", "--json", cwd=project)
    assert done.returncode == 6, done.stderr
    assert "/c.json: the costs cannot be written: Is a directory" in done.stderr
    assert "all else of this run is done and saved" in done.stderr
    document = document_of(done.stdout)
    assert document["costs"]["error"] == "the costs cannot be written: Is a directory"
    assert document["failed"] == 0
    assert len((project / "out.jsonl").read_text().splitlines()) == document["tasks"] > 0
    (project / "c.json").rmdir()
    if journal:  # the job is finished, and nothing is run
        again = run_todobatch(*run, "-o", "out.jsonl", "--json", cwd=project)
        assert again.returncode == 0, again.stderr
        assert document_of(again.stdout)["costs"]["error"] is None


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


def test_a_module_in_the_current_folder_does_not_replace_one_of_the_standard_library(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    for name in ("random", "json", "decimal", "queue", "psutil"):
        (project / f"{name}.py").write_text("raise RuntimeError('not the real one')\n")
    for executor in ("threads", "processes"):
        done = run_todobatch("run", "todo.txt", "-w", "mine:shout", "-e", executor, cwd=project)
        assert "not the real one" not in done.stderr
        assert "Traceback" not in done.stderr
        assert done.returncode in {0, 1}, done.stderr
    assert run_todobatch("interpreters", cwd=project).returncode == 0
