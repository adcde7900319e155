"""Temporary folders: removed after use, and by the next process after a kill."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from todobatch.files import LONGEST_PATH, TemporaryFolder, temporary_folder

MAKE_ONE = """
import os, signal
from todobatch.files import TemporaryFolder
print(TemporaryFolder("test").path, flush=True)
os.read(0, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The system's folder, for this process and its children.
    folder = Path("/tmp") / f"tb{os.getpid()}-{tmp_path.name[:20]}"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_a_folder_is_removed_after_the_block(home: Path) -> None:
    with temporary_folder("test") as folder:
        assert folder.parent == home
        (folder / "file").touch()
    assert list(home.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_nothing_else(home: Path) -> None:
    (home / "todobatch-other-1").mkdir()
    (home / "todobatch-test-link").symlink_to(home / "todobatch-other-1")
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_ONE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        mine = TemporaryFolder("test")
        assert left.is_dir(), "it is in use"
        process.communicate("x")
    assert process.returncode == -signal.SIGKILL
    assert left.is_dir()
    with temporary_folder("test"):
        assert not left.exists()
        assert mine.path.is_dir(), "it is in use"
        assert (home / "todobatch-other-1").is_dir()
    mine.remove()


def test_the_path_is_short_where_tmpdir_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * LONGEST_PATH)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = TemporaryFolder("test", short=True)
    assert folder.path.parent == Path("/tmp")
    folder.remove()
    with temporary_folder("test") as there:
        assert there.parent == long


def fail_to_lock(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)


def test_a_file_system_without_locks_is_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_lock(monkeypatch, errno.ENOLCK)
    (home / "todobatch-test-other").mkdir()
    with temporary_folder("test") as folder:
        assert folder.is_dir()
    assert [path.name for path in home.iterdir()] == ["todobatch-test-other"]


def test_other_errors_of_the_lock_are_raised_and_leave_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_lock(monkeypatch, errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        TemporaryFolder("test")
    assert list(home.iterdir()) == []
