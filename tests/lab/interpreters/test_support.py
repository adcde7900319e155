"""Workers get the running todobatch, dependencies for their ABI, and the user's code."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import todobatch
from todobatch.errors import BuildError, UsageError
from todobatch.lab.interpreters import Interpreter, support, worker_environment

LOOK = """
import importlib.util, json, sys
import psutil, pytodotxt, todobatch, todobatch.probe
print(json.dumps({
    "todobatch": todobatch.__file__, "psutil": psutil.__file__,
    "gil": sys._is_gil_enabled(), "typer": importlib.util.find_spec("typer") is not None,
}))
"""

pytestmark = pytest.mark.interpreters


def test_a_worker_has_todobatch_and_its_dependencies_and_the_gil_stays_off(
    each_python: Interpreter,
) -> None:
    env = worker_environment(each_python)
    done = subprocess.run(
        [each_python.executable, "-c", LOOK],
        check=True,
        capture_output=True,
        text=True,
        env=env,
        cwd="/",
    )
    printed = json.loads(done.stdout)
    assert Path(printed["todobatch"]).resolve() == Path(todobatch.__file__).resolve()
    assert Path(printed["psutil"]).is_relative_to(support.support_folder(each_python))
    assert printed["gil"] is not each_python.facts["free_threaded_build"]
    # The controller's own packages, built for another interpreter, stay out.
    assert not printed["typer"]


def test_the_two_builds_have_folders_of_their_own(
    python314: Interpreter, python314t: Interpreter
) -> None:
    assert support.support_folder(python314) != support.support_folder(python314t)


def test_the_gil_is_left_to_the_build_unless_somebody_asks(
    python314t: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_GIL", "1")
    assert "PYTHON_GIL" not in worker_environment(python314t)
    assert worker_environment(python314t, inherit_gil=True)["PYTHON_GIL"] == "1"
    assert worker_environment(python314t, gil=True)["PYTHON_GIL"] == "1"
    assert worker_environment(python314t, gil=False, inherit_gil=True)["PYTHON_GIL"] == "0"


def test_a_gil_build_is_not_asked_to_run_without_its_gil(
    python314: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="needs a free-threaded build"):
        worker_environment(python314, gil=False)
    monkeypatch.setenv("PYTHON_GIL", "0")
    assert "PYTHON_GIL" not in worker_environment(python314)
    with pytest.raises(UsageError, match="needs a free-threaded build"):
        worker_environment(python314, inherit_gil=True)
    old = replace(python314, facts={**python314.facts, "version": "3.12.9"})
    support._check_gil("0", old)  # it ignores the variable


def test_variables_that_mislead_another_interpreter_do_not_reach_it(
    python314: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", f"/mine{os.pathsep}{os.pathsep}/mine")
    env = worker_environment(python314)
    assert "PYTHONHOME" not in env
    assert env["PYTHONPATH"].split(os.pathsep)[2:] == ["/mine"]


def test_dependencies_that_cannot_be_installed_are_an_error_and_leave_nothing(
    python314: Interpreter, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ("uv", ["sh", "-c", "echo 'no such index' >&2; exit 1"])
    monkeypatch.setattr(support, "_installers", lambda interpreter: iter([failing]))
    with pytest.raises(BuildError, match="uv: no such index"):
        worker_environment(python314)
    assert not (own_cache / "support").exists()
    assert list((own_cache / "staging").iterdir()) == []


def test_the_next_installer_is_asked_when_the_first_fails(
    python314: Interpreter, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ("uv", ["sh", "-c", "exit 1"])
    copying = ("pip", ["sh", "-c", f'cp -r "{tmp_path / "ready"}" "$2"', "sh"])
    packages = tmp_path / "ready"
    packages.mkdir()
    for name in ("psutil", "pytodotxt"):
        (packages / f"{name}.py").write_text("")
    monkeypatch.setattr(support, "_installers", lambda interpreter: iter([failing, copying]))
    assert (support.support_folder(python314) / "psutil.py").is_file()


def test_an_extension_that_turns_the_gil_back_on_is_refused(
    python314t: Interpreter, tmp_path: Path
) -> None:
    (tmp_path / "hiredis").mkdir()
    with pytest.raises(BuildError, match="hiredis was installed too"):
        support._prove(python314t, tmp_path)


def test_dependencies_with_the_gil_back_on_are_refused(
    python314t: Interpreter, tmp_path: Path
) -> None:
    # What an extension without support for free threading does when it is imported.
    (tmp_path / "psutil.py").write_text("import sys; sys._is_gil_enabled = lambda: True\n")
    (tmp_path / "pytodotxt.py").write_text("")
    with pytest.raises(BuildError, match="turned the GIL back on"):
        support._prove(python314t, tmp_path)


def test_the_requirements_are_pinned_with_hashes_and_name_no_address() -> None:
    text = support.REQUIREMENTS.read_text("utf-8")
    assert "://" not in text + support.PEER_REQUIREMENTS.read_text("utf-8")
    pins = [line.split("==")[0] for line in text.splitlines() if "==" in line]
    assert pins == ["psutil", "pytodotxt"]
    assert text.count("--hash=sha256:") >= len(pins)
