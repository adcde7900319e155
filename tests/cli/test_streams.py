"""Commands work with standard streams that are closed, full, or of another encoding."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import document_of
from tests.conftest import COMMAND, ROOT, RunTodobatch


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_what_an_encoding_lacks_is_written_as_an_escape(project: Path, encoding: str) -> None:
    (project / "fails.py").write_text(
        "def fail(task):\n    raise ValueError('cannot open caf\\udce9 ⇒ Ж')\n"
    )

    def command(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [COMMAND, *arguments], check=False, cwd=project, capture_output=True,
            stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONIOENCODING": encoding},
        )  # fmt: skip

    run = ("run", "todo.txt", "-w", "fails:fail", "-e", "sequential")
    done = command(*run, "--json")
    assert done.returncode == 1, done.stderr
    failures = document_of(done.stdout.decode("ascii"))["failures"]
    assert "cannot open caf\udce9 ⇒ Ж" in failures[0]["error"]
    done = command(*run)
    assert done.returncode == 1, done.stderr
    assert b"cannot open caf" in done.stderr
    for arguments in (["run", "--help"], ["interpreters"], ["doctor", "--no-measure"]):
        assert command(*arguments).returncode == 0


def test_file_names_need_not_be_utf8(project: Path) -> None:
    names = [os.fsdecode(name) for name in (b"caf\xe9.txt", b"out\xe9.jsonl", b"j\xe9.db")]
    tasks, output, journal = (project / name for name in names)
    tasks.write_text("one\n")
    done = subprocess.run(
        [COMMAND, "run", tasks, "-w", "validate", "-o", output, "--journal", journal],
        check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert output.read_text().count("\n") == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_like_dev_null(project: Path, closed: str) -> None:
    output = project / "rows.jsonl"
    for arguments in (f"run todo.txt -w validate -o {output}", "run --help", "interpreters"):
        command = f'"{COMMAND}" {arguments} {closed}'
        done = subprocess.run(["sh", "-c", command], check=False, cwd=project, capture_output=True)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert output.read_text().count("\n") == 4


def test_a_closed_standard_input_is_an_empty_one(project: Path) -> None:
    command = f'"{COMMAND}" run - --format todotxt <&-'
    done = subprocess.run(["sh", "-c", command], check=False, cwd=project, capture_output=True)
    assert done.returncode == 2
    assert b"standard input: the input contains no task" in done.stderr


def test_rows_on_standard_output_leave_the_rest_to_standard_error(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    (tmp_path / "loud.py").write_text("def work(task):\n    print('loud')\n    return 1\n")
    done = run_todobatch("run", "--generate", "3", "-w", "loud:work", "-o", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["task"], row["result"]) for row in rows] == [(0, 1), (1, 1), (2, 1)]
    for part in ("loud", "tasks     3 in 1 batch", "digest", "output    standard output"):
        assert part in done.stderr
    assert not (tmp_path / "-").exists()


def test_a_closed_standard_output_cannot_take_rows(project: Path) -> None:
    command = f'"{COMMAND}" run todo.txt -w validate --output - >&-'
    done = subprocess.run(["sh", "-c", command], check=False, cwd=project, capture_output=True)
    assert done.returncode == 2
    assert b"--output -: standard output is closed" in done.stderr


@pytest.mark.parametrize("other", [["--json"], ["--journal", "j.db"]])
def test_rows_on_standard_output_exclude_json_and_a_journal(
    run_todobatch: RunTodobatch, tmp_path: Path, other: list[str]
) -> None:
    done = run_todobatch("run", "--generate", "3", "-o", "-", *other, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{other[0]}" in done.stderr
    assert "remedy:" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("log", ["/dev/full", "gone"])
def test_a_log_that_nobody_reads_or_that_is_full_ends_no_job(tmp_path: Path, log: str) -> None:
    errors, reader = None, None
    if log == "gone":
        reader, errors = os.pipe()
        os.close(reader)
    else:
        errors = os.open(log, os.O_WRONLY)
    with os.fdopen(errors, "wb") as stream:
        done = subprocess.run(
            [COMMAND, "run", "--generate", "3", "--output", "rows.jsonl"], check=False,
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=stream, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 3


def test_a_report_that_nobody_reads_leaves_the_exit_code(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        done = subprocess.run(
            [COMMAND, "run", "--generate", "3"], check=False, cwd=tmp_path, stdout=stream,
            stderr=subprocess.PIPE, text=True, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].endswith(" exit=0")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--generate", "3", "--no-baseline"],
        ["run", "--generate", "3", "--no-baseline", "--json"],
        ["show", str(ROOT / "results/published/quick")],
        ["compare", *[str(ROOT / "results/published/quick")] * 2],
        ["interpreters"],
        ["interpreters", "list", "--json"],
        ["--version"],
        ["--help"],
        ["run", "--help"],
    ],
)
def test_a_full_standard_output_is_named(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [COMMAND, *arguments], check=False, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=100,
        )  # fmt: skip
    assert done.returncode == 6
    cause = "standard output: cannot be written: No space left on device\n  remedy: free some room"
    assert f"todobatch: error: {cause}" in done.stderr


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_every_name_of_standard_output_means_it(
    run_todobatch: RunTodobatch, tmp_path: Path, name: str
) -> None:
    done = run_todobatch("run", "--generate", "3", "-o", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["task"] for line in done.stdout.splitlines()] == [0, 1, 2]
    other = run_todobatch("run", "--generate", "3", "-o", "/dev/fd/2", cwd=tmp_path)
    assert other.returncode == 2
    assert "does not have this descriptor" in other.stderr


def test_a_file_may_be_called_as_standard_output_is(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    done = run_todobatch("run", "--generate", "3", "-o", "./-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "-").read_text().splitlines()) == 3
