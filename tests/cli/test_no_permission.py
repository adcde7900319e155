"""A folder that the user may not use, or that is gone, is an error with a remedy."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND

NOBODY = 65_534
WITHOUT_ROOTS_RIGHTS = (
    "setpriv", "--bounding-set", "-dac_override,-dac_read_search",
    "--inh-caps", "-dac_override,-dac_read_search",
)  # fmt: skip


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Make a folder with a file, which the command may not enter."""
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "there").write_text("one\n")
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o700 if os.getuid() == 0 else 0)
    return folder


@pytest.mark.parametrize("name", ["there", "not-there"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("run --generate 3 --journal {} --output o.jsonl", 6),
        ("run --generate 3 --output {}", 6),
        ("run --generate 3 --costs {}", 6),
        ("run --generate 3 --interpreter {}", 4),
        ("run {} --format todotxt", 2),
        ("bench --budget 3 --input {} --format todotxt", 2),
        ("bench --budget 3 --output {}", 6),
        ("bench --resume {}", 6),
        ("show {}", 6),
        ("compare {} {}", 6),
        ("report {} --output site", 6),
    ],
)
def test_what_may_not_be_looked_at_is_refused(
    locked: Path, name: str, arguments: str, code: int
) -> None:
    command = [str(COMMAND), *arguments.replace("{}", f"locked/{name}").split()]
    if os.getuid() == 0:
        command = [*WITHOUT_ROOTS_RIGHTS, *command]
    done = subprocess.run(
        command, check=False, cwd=locked.parent, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "locked" in done.stderr


def test_costs_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def work(task):\n    open('ran', 'w').close()\n")
    folder = tmp_path / "read-only"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    folder.chmod(0o555)
    command = [str(COMMAND), "run", "--generate", "3", "-w", "mine:work"]
    command += ["--costs", "read-only/c.json"]
    if os.getuid() == 0:
        command = [*WITHOUT_ROOTS_RIGHTS, *command]
    done = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 6, done.stderr
    assert "read-only/c.json: the costs cannot be written: Permission denied" in done.stderr
    assert "remedy: name a file in a folder where you may create files" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--generate", "3", "--costs", "c.json"], 2),
        (["--generate", "3", "-o", "x.jsonl"], 2),
        (["--generate", "3", "--journal", "j.db"], 2),
        (["--generate", "3", "-e", "processes", "--no-baseline"], 2),
        (["--generate", "3", "-e", "threads", "--no-baseline"], 0),
        (["--generate", "3", "--no-baseline", "-o", os.devnull], 0),
    ],
)
def test_a_current_folder_that_was_removed_is_named_where_it_is_needed(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    (tmp_path / "gone").mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir ../gone; exec "$0" run "$@"', str(COMMAND), *arguments],
        check=False, cwd=tmp_path / "gone", capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("the current folder does not exist any more" in done.stderr) == (code == 2)
    assert ("remedy: change to a folder that exists" in done.stderr) == (code == 2)
