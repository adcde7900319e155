"""An input that can be read only once is copied; devices are not, and a disk is never filled."""

import errno
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import COMMAND, RunTodobatch
from todobatch.cli.shared import input_copy
from todobatch.cli.shared.input_copy import readable_twice
from todobatch.errors import InputError, StoreError

RUN = ("run", "--format", "todotxt", "--no-baseline", "-w", "validate")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which copies are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Return a named pipe with 600 kB of text."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(b"Call mum\n" * 70_000,), daemon=True).start()
    return path


def test_a_pipe_is_copied_and_a_file_is_not(temporary: Path, pipe: Path, tmp_path: Path) -> None:
    with readable_twice(pipe) as name:
        assert Path(name).is_relative_to(temporary)
        assert Path(name).read_bytes() == b"Call mum\n" * 70_000
    assert not list(temporary.iterdir())
    file = tmp_path / "todo.txt"
    file.touch()
    with readable_twice(file) as name:
        assert name == str(file)


def test_a_device_is_refused_before_anything_is_read(
    run_todobatch: RunTodobatch, tmp_path: Path
) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to("/dev/zero")
    for device in ("/dev/zero", link):
        done = run_todobatch("run", device, "--format", "jsonl", "-n", "1")
        assert done.returncode == 2
        assert f"{device}: it is a character device, which may have no end" in done.stderr
        assert "remedy: name a file or a pipe" in done.stderr
    with open("/dev/zero", "rb") as zeros:
        piped = subprocess.run(
            [COMMAND, *RUN, "-"], check=False, stdin=zeros, capture_output=True, text=True
        )
    assert piped.returncode == 2
    assert "standard input: it is a character device" in piped.stderr


def test_an_input_that_became_a_device_is_refused(temporary: Path) -> None:
    with pytest.raises(InputError, match="it is a character device"):
        readable_twice(Path("/dev/zero")).__enter__()
    assert not list(temporary.iterdir())


def test_the_null_device_is_an_empty_input(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch(*RUN, os.devnull)
    assert f"{os.devnull}: the input contains no task" in done.stderr


@pytest.mark.parametrize(
    "redirected", ["/dev/stdin < todo.txt", "/dev/fd/7 7< todo.txt", "/proc/self/fd/0 < todo.txt"]
)
def test_a_descriptor_may_be_a_file_or_a_pipe(project: Path, redirected: str) -> None:
    name, _, _ = redirected.partition(" ")
    for command in (
        f'"{COMMAND}" {" ".join(RUN)} {redirected}',
        f'cat todo.txt | "{COMMAND}" {" ".join(RUN)} {name} {"7<&0" * ("7" in name)}',
        f'exec 8< todo.txt; rm todo.txt; "{COMMAND}" {" ".join(RUN)} {name} 7<&8 <&8',
    ):
        done = subprocess.run(
            ["sh", "-c", command], check=False, cwd=project, capture_output=True, text=True
        )
        assert (done.returncode, "tasks     4 in 1 batch" in done.stdout) == (0, True), done.stderr


def test_a_copy_ends_before_the_disk_is_full(
    temporary: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_blocks=1_000_000, f_frsize=1000, f_bavail=50_100)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    monkeypatch.setattr(input_copy, "SMALL", 100_000)
    with pytest.raises(StoreError) as caught:
        readable_twice(pipe).__enter__()
    assert caught.value.place == str(temporary)
    assert caught.value.cause == (
        f"there is no room for a copy of {pipe}: after 630 kB of it, less than 50.0 MB would stay "
        "free"
    )
    assert "set TMPDIR" in caught.value.remedy
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("bavail", "small"), [(51_000, 0), (0, 1_000_000)])
def test_a_copy_is_made_where_there_is_room_and_if_it_is_small(
    temporary: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch, bavail: int, small: int
) -> None:
    disk = SimpleNamespace(f_blocks=1_000_000, f_frsize=1000, f_bavail=bavail)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    monkeypatch.setattr(input_copy, "SMALL", small)
    with readable_twice(pipe) as name:
        assert Path(name).stat().st_size == 630_000
    assert not list(temporary.iterdir())


def test_a_copy_that_cannot_be_written_names_the_folder(temporary: Path, pipe: Path) -> None:
    limited = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from todobatch.cli.shared.input_copy import readable_twice\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with readable_twice(Path(sys.argv[1])): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, pipe], check=False, capture_output=True, text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert f"StoreError: {temporary}: {pipe} cannot be copied to a temporary" in done.stderr
    assert "File too large" in done.stderr
    assert "remedy: set TMPDIR" in done.stderr
    assert not list(temporary.iterdir())


def test_an_input_that_fails_while_it_is_copied_is_an_input_error(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(size: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    stream = SimpleNamespace(read=fail, isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    with pytest.raises(InputError, match="standard input: reading failed before the end: Input"):
        readable_twice(Path("-")).__enter__()
    assert not list(temporary.iterdir())
