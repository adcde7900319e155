"""What a command does not take is refused in one sentence, before anything is shown or started."""

from pathlib import Path

import pytest

from tests.conftest import RunTodobatch


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("run INPUT --order foo", "--order takes input, priority or longest, not 'foo'"),
        ("run INPUT --placement foo", "--placement takes none or spread, not 'foo'"),
        ("run --generate x", "--generate takes a whole number, not 'x'"),
        ("run INPUT --retries 1.5", "--retries takes a whole number, not '1.5'"),
        ("run INPUT --deadline soon", "--deadline takes a number, not 'soon'"),
        ("compare A B --format xml", "--format takes text, markdown or json, not 'xml'"),
        ("versus A B --format xml", "--format takes text or json, not 'xml'"),
        ("doctor --seconds long", "--seconds takes a number, not 'long'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_what_the_option_takes(
    run_todobatch: RunTodobatch, arguments: str, sentence: str
) -> None:
    done = run_todobatch(*arguments.split())
    assert done.returncode == 2
    assert done.stderr == f"todobatch: error: {sentence}\n"


def test_what_is_missing_or_unknown_is_still_named(run_todobatch: RunTodobatch) -> None:
    for arguments, part in (
        ("compare A", "Missing argument 'B'"),
        ("run --generate", "'--generate' requires an argument"),
        ("run --generation 5", "No such option: --generation"),
    ):
        done = run_todobatch(*arguments.split())
        assert (done.returncode, part in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ("--deadline 1 -e threads", 2, "--deadline: the executor threads cannot keep a deadline"),
        ("--deadline 0 -e processes", 2, "--deadline: 0.0 seconds cannot be a limit"),
        ("--deadline nan -e processes", 2, "--deadline: nan seconds cannot be a limit"),
        ("--deadline inf -e processes", 2, "--deadline: inf seconds cannot be a limit"),
        ("--no-progress inf", 2, "--no-progress: inf seconds cannot be a limit"),
        ("--placement spread -e coroutines", 2, "--placement: the executor coroutines cannot"),
        ("--workers 0", 2, "--workers: 0 workers"),
        ("--workers ٣", 2, "--workers: '٣' is not a number of workers"),
        ("--workers 1-٣", 2, "--workers: '1-٣' is not a number of workers"),
        (f"--workers {'9' * 5000}", 2, "999…' is not a number of workers"),
        ("--retries ٣", 2, "--retries takes a whole number, not '٣'"),
        ("--workload magic", 2, "--workload: unknown workload 'magic'"),
        ("--workload pipelin", 2, "unknown workload 'pipelin'; did you mean pipeline?"),
        ("--workload ./my.py:f", 2, "remedy: write my:f"),
        ("--executor Thread", 2, "unknown executor 'Thread'; did you mean threads?"),
        ("--order prority", 2, "not 'prority'; did you mean priority?"),
        ("--interpreter 314t", 2, "did you mean 3.14t?"),
        ("--order longest", 2, "--order longest: it is not known"),
        ("--costs no/folder", 2, "no/folder: there is no such folder"),
        ("--output no/folder/rows", 6, "no/folder"),
        ("--format csv", 2, "--format: generated tasks have no format"),
        ("--format magic", 2, "--format: generated tasks have no format"),
        ("--interpreter /bin/ls", 4, "/bin/ls: it is not a Python interpreter"),
    ],
)
def test_a_job_is_refused_before_the_banner(
    run_todobatch: RunTodobatch, project: Path, arguments: str, code: int, part: str
) -> None:
    done = run_todobatch("run", "--generate", "5", *arguments.split(), cwd=project)
    assert done.returncode == code, done.stderr
    assert part in done.stderr
    assert "todobatch run:" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_is_called_a_folder(run_todobatch: RunTodobatch, project: Path) -> None:
    (project / "docs").mkdir()
    done = run_todobatch("run", "docs", cwd=project)
    assert done.returncode == 2
    assert "docs: it is a folder" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        "versus validate report --target 200%",
        "versus validate report --target 100%",
        "bench --target 100%",
        "compare A B --fail-on-efficiency-drop 100%",
    ],
)
def test_a_share_of_everything_is_refused(run_todobatch: RunTodobatch, arguments: str) -> None:
    done = run_todobatch(*arguments.split())
    assert done.returncode == 2
    assert "is 100% or more" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("bench --format csv", "--format: generated tasks have no format"),
        ("versus validate report --input-format csv", "--input-format: generated tasks have no"),
        ("bench --budget inf", "--budget: inf s is not a valid budget"),
        ("versus validate report --budget inf", "--budget: inf s is not a valid budget"),
    ],
)
def test_a_measurement_is_refused_before_it_begins(
    run_todobatch: RunTodobatch, tmp_path: Path, arguments: str, part: str
) -> None:
    done = run_todobatch(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert part in done.stderr
    assert list(tmp_path.iterdir()) == []
