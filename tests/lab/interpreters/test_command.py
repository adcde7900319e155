"""`todobatch interpreters` prints the interpreters of this machine."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.lab.interpreters.test_discovery import BROKEN_SHIM, Put, answering, put
from todobatch.cli.interpreters import app
from todobatch.errors import UsageError

__all__ = ["put"]


@pytest.fixture(autouse=True)
def running(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the running Python is another version, because it may be 3.14 itself."""
    monkeypatch.setattr(sys, "executable", str(put("running", answering("3.11.9"))))


def test_the_list_shows_what_each_one_is_and_what_is_missing_with_the_command_for_it(
    put: Put,
) -> None:
    put("python3.14", answering("3.14.7", optimized_build=True))
    put("python3.13", BROKEN_SHIM)
    page = CliRunner().invoke(app, [])
    assert page.exit_code == 0, page.output
    row = next(line for line in page.output.splitlines() if line.endswith("bin/python3.14"))
    assert row.split()[:4] == ["*", "3.14", "3.14.7", "GIL"]
    assert "PGO" in row
    assert "python3.13: it does not run: pyenv" in page.output
    assert page.output.rstrip().endswith("todobatch interpreters install 3.14t")


def test_json_holds_the_same(put: Put) -> None:
    path = put("python3.14t", answering("3.14.7", free_threaded_build=True))
    shim = put("python3.14", BROKEN_SHIM)
    for arguments in (["--json"], ["list", "--json"]):
        document = json.loads(CliRunner().invoke(app, arguments).output)
        (one,) = [row for row in document["interpreters"] if row["spec"] == "3.14t"]
        assert one["path"] == str(path)
        assert (one["origin"], one["free_threaded_build"], one["gil_enabled"]) == (
            "PATH",
            True,
            False,
        )
        assert [row["path"] for row in document["broken"]] == [str(shim)]
        assert document["missing"] == ["3.14"]


def test_a_pair_of_unlike_builds_is_pointed_out(put: Put) -> None:
    put("python3.14t", answering("3.14.7", free_threaded_build=True))
    put("python3.14", answering("3.14.7", optimized_build=True))
    output = CliRunner().invoke(app, []).output
    assert "differ in more than the GIL" in output
    assert "profile-guided optimisation: yes (3.14), no (3.14t)" in output


def test_installing_what_is_here_already_does_nothing(put: Put, tmp_path: Path) -> None:
    path = put("python3.14", answering("3.14.2"))
    done = CliRunner().invoke(app, ["install", "3.14"])
    assert done.exit_code == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"3.14 is installed already: 3.14.2, {path}")
    assert not (tmp_path / "cache").exists()


def test_a_spec_that_cannot_be_installed_is_refused_before_anything_is_built(
    put: Put, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["install", "3.14", "3.12"])
    assert isinstance(done.exception, UsageError)
    assert "3.12" in str(done.exception)
    assert not (tmp_path / "cache").exists()
