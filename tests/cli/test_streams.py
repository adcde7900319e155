"""Commands work with standard streams that are closed, full, or of another encoding."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import document_of
from tests.conftest import COMMAND


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
