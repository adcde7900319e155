"""What ends a job that nobody expected, and what is reported when figures cannot be read."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from todobatch.errors import EXIT_BUG, EXIT_MEASUREMENT
from todobatch.job.unexpected import unexpected

WORK = """
import signal, threading

def limited(task):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return 1

def named(task):
    if task.title == "b":
        raise NameError("unknown column", name=["a"])
    return 1
"""


def test_an_exception_of_user_code_between_tasks_is_no_bug(tmp_path: Path) -> None:
    source = "def handler():\n    raise TimeoutError('late')\n"
    names: dict[str, object] = {}
    exec(compile(source, str(tmp_path / "mine.py"), "exec"), names)
    try:
        names["handler"]()  # type: ignore[operator]
    except TimeoutError as error:
        ours, code = unexpected(error)
    assert code == EXIT_MEASUREMENT
    assert "an exception between two tasks: TimeoutError: late" in ours.cause
    assert ours.place == f"{tmp_path / 'mine.py'}:2, in handler"


def test_an_exception_of_our_own_is_a_bug() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        error.__traceback__ = None
        ours, code = unexpected(error)
    assert code == EXIT_BUG
    assert "this is a bug" in ours.remedy


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(WORK, "utf-8")
    (tmp_path / "in.txt").write_text("a\nb\nc\n", "utf-8")
    return tmp_path


def test_a_report_without_figures_says_so(run_todobatch: RunTodobatch, work: Path) -> None:
    done = run_todobatch(
        "run", "in.txt", "--workload", "mine:limited", "--no-baseline", "--json", cwd=work
    )
    assert done.returncode == 0, done.stderr
    assert "CPU time and memory are unknown: [Errno 24]" in done.stderr
    report = json.loads(done.stdout)
    assert (report["tasks"], report["failed"], report["peak_bytes"]) == (3, 0, 0)


@pytest.mark.parametrize("executor", ["sequential", "threads", "processes", "coroutines"])
def test_a_task_whose_error_resists_being_described_is_named(
    run_todobatch: RunTodobatch, work: Path, executor: str
) -> None:
    done = run_todobatch(
        "run", "in.txt", "--workload", "mine:named", "--executor", executor, "--no-baseline",
        "--json", cwd=work,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (failure,) = json.loads(done.stdout)["failures"]
    assert (failure["task"], failure["error"]) == (1, "NameError: unknown column")
