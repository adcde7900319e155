import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from todobatch.cli.report import report
from todobatch.errors import ExtraMissingError, StoreError

pytestmark = pytest.mark.timeout(300)


def run_report(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_prints_the_path_of_the_page_to_open(run_folder: Path, tmp_path: Path) -> None:
    result = run_report(run_folder, "-o", tmp_path / "out" / "site")
    assert result.exit_code == 0, result.output
    index = Path(result.stdout.splitlines()[-1])
    assert index == tmp_path / "out" / "site" / "index.html"
    assert "Which way is fastest?" in index.read_text("utf-8")


def test_without_the_extra_it_names_what_to_install(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "todobatch_reports", None)
    result = run_report(run_folder, "-o", tmp_path / "site")
    assert isinstance(result.exception, ExtraMissingError)
    assert "./reports" in result.exception.remedy
    assert not (tmp_path / "site").exists()


def test_a_folder_without_a_run_is_a_clear_error(tmp_path: Path) -> None:
    result = run_report(tmp_path, "-o", tmp_path / "site")
    assert isinstance(result.exception, StoreError)
