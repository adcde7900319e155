"""A folder that the user may not enter is an error with a remedy, whatever is looked for in it."""

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
