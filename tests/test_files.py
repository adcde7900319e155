"""A file is replaced as a whole or not at all, and is then on disk."""

import os
import re
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from todobatch.files import (
    LOWEST_OWN,
    UnfitFileError,
    low_numbers_taken,
    move_high,
    open_high,
    open_regular,
    read_or_none,
    read_regular,
    short_name,
    write_atomically,
)


def test_a_file_is_made_and_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "deep" / "a.json")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "deep" / "a.json").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_content_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_data_is_flushed_before_the_new_name_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    flushed = []

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        flushed.append((kind, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"new")
    assert flushed == [("file", False), ("folder", True)]


def test_a_file_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(" 1\n")
    assert read_or_none(tmp_path / "a") == "1"
    assert read_or_none(tmp_path / "b") is None
    assert read_or_none(tmp_path) is None


def test_only_a_regular_file_up_to_a_size_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(path, most=5) == b"12345"
    assert read_regular(tmp_path / "link", most=5) == b"12345"
    for name, most, follow, why in (
        ("a", 4, True, "larger than 4 bytes"),
        ("link", 5, False, "symbolic link"),
        ("fifo", 5, True, "not a regular file"),
        (".", 5_000, True, "not a regular file"),
    ):
        with pytest.raises(UnfitFileError, match=why):
            read_regular(tmp_path / name, most=most, follow=follow)


def test_a_fifo_is_not_opened_for_writing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnfitFileError, match="not a regular file"):
        open_regular(tmp_path / "fifo", os.O_WRONLY)


def test_what_lies_in_the_place_of_the_temporary_file_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"stays")
    trap = tmp_path / f".a.json.{os.getpid()}.part"
    trap.symlink_to(tmp_path / "victim")
    write_atomically(tmp_path / "a.json", b"new")
    assert (tmp_path / "victim").read_bytes() == b"stays"
    assert (tmp_path / "a.json").read_bytes() == b"new"


def test_a_descriptor_is_moved_to_a_high_number(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    lowest = LOWEST_OWN if limit < 0 else min(LOWEST_OWN, limit // 2)
    with open(tmp_path / "a", "xb", opener=open_high) as file:
        number = file.fileno()
        assert number >= lowest
        assert not os.get_inheritable(number)
        os.set_inheritable(number, True)
        assert move_high(number) == number
        assert not os.get_inheritable(number)
        file.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.thread_unsafe(reason="another thread may take the number that it looks at")
def test_the_low_number_of_a_moved_descriptor_is_closed() -> None:
    reader, writer = os.pipe()
    try:
        low, writer = writer, move_high(writer)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(low, b"x")
        assert os.write(writer, b"y") == 1
        assert os.read(reader, 2) == b"y"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.thread_unsafe(reason="it takes many descriptors")
def test_files_that_a_library_opens_get_high_numbers(tmp_path: Path) -> None:
    before = len([*Path("/dev/fd").iterdir()])
    with low_numbers_taken():
        file = (tmp_path / "a").open("xb")
    with file:
        assert file.fileno() >= 100
        assert len([*Path("/dev/fd").iterdir()]) == before + 1


LOW_LIMIT = """
import os, resource
from todobatch.files import low_numbers_taken, move_high

resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
taken = [os.open(os.devnull, os.O_RDONLY)]
with low_numbers_taken():
    assert os.dup(taken[0]) == 10
os.close(10)
assert move_high(os.dup(taken[0])) == 10
try:
    while True:
        taken.append(os.dup(taken[0]))
except OSError:
    pass
assert len(taken) > 12
assert move_high(taken[1]) == taken[1]
with low_numbers_taken():
    pass
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
assert move_high(taken[1]) == taken[1]
"""


def test_a_low_limit_of_open_files_costs_high_numbers_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOW_LIMIT], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_short_name_is_the_text_itself_or_has_a_digest() -> None:
    assert [short_name(each) for each in ("3.14t", "io-wait")] == ["3.14t", "io-wait"]
    assert short_name("mine:length").startswith("mine-length-")
    odd = [
        "a.b",
        "a-b",
        "a/b",
        "a:b",
        "a b",
        "",
        ".",
        "..",
        "-",
        "/",
        "é",
        "\ud800",
        "a\n",
        "A" * 300,
    ]
    names = [short_name(each) for each in [*odd, *map(short_name, odd), "A" * 301]]
    assert len({*names}) == len({*odd, *map(short_name, odd)}) + 1
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,79}", name)
