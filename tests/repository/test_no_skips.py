"""With ``--no-skips``, a test that did not run is a failure."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
CONFTEST = TESTS / "conftest.py"

ESCAPES = {
    "skips": "import pytest\ndef test_it(): pytest.skip('no such thing here')",
    "is marked": "import pytest\n@pytest.mark.skip(reason='later')\ndef test_it(): pass",
    "expects to fail": "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False",
    "skips its whole file": "import pytest\npytest.importorskip('no_such_module')",
}


def run_pytest(folder: Path, source: str, *options: str, ci: str = "") -> tuple[int, str]:
    shutil.copy(CONFTEST, folder)
    (folder / "test_it.py").write_text(source, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "CI": ci},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES)
def test_a_test_that_did_not_run_fails_with_no_skips(tmp_path: Path, source: str) -> None:
    code, output = run_pytest(tmp_path, source, "--no-skips")
    assert code in {1, 2}, output
    assert "--no-skips is on" in output


@pytest.mark.parametrize("source", ESCAPES.values(), ids=ESCAPES)
def test_no_skips_is_on_where_ci_is_set(tmp_path: Path, source: str) -> None:
    code, output = run_pytest(tmp_path, source, ci="1")
    assert code in {1, 2}, output


def test_without_it_a_skip_is_a_skip(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, ESCAPES["skips"])
    assert (code, "1 skipped" in output) == (0, True)


def test_a_test_that_ran_passes_with_no_skips(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, "def test_it(): assert 1 + 1 == 2", "--no-skips")
    assert (code, "1 passed" in output) == (0, True)


def test_what_the_measured_interpreters_leave_out_is_a_short_list_of_what_there_is() -> None:
    makefile = (TESTS.parent / "Makefile").read_text("utf-8").replace("\\\n", " ")
    left_out = re.findall(r"^CONTROLLER := (.+)$", makefile, re.MULTILINE)[0].split()
    assert [name for name in left_out if not (TESTS / name).exists()] == []
    assert {"test_collectors.py", "test_model.py"}.isdisjoint(left_out)
    task_path = {"contract", "coordinator", "examples", "executors", "processors", "sources"}
    assert task_path.isdisjoint(left_out)
