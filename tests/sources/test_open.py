"""`open_source` chooses the format, checks the path, and reads standard input."""

import io
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from todobatch.errors import BrokenLineError, InputError, UnknownFormatError
from todobatch.sources import FORMATS, open_source


def refuse(error: BrokenLineError) -> None:
    raise error


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        ("todo.txt", "todotxt"),
        ("DONE.TXT", "todotxt"),
        ("a.json", "taskwarrior"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson", "jsonl"),
        ("a.b.csv", "csv"),
    ],
)
def test_the_ending_tells_the_format(tmp_path: Path, name: str, fmt: str) -> None:
    (tmp_path / name).touch()
    source = open_source(tmp_path / name)
    assert (source.name, source.file) == (fmt, str(tmp_path / name))


def test_a_named_format_goes_before_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "todo.csv"
    path.write_text("(A) Call mum\n")
    (task,) = open_source(path, format="todotxt").read(refuse)
    assert (task.title, task.priority) == ("Call mum", 1)


@pytest.mark.parametrize(
    ("name", "fmt"), [("a.xlsx", None), ("a", None), ("a.csv", "excel"), ("-", None)]
)
def test_an_unknown_format_lists_those_that_there_are(name: str, fmt: str | None) -> None:
    with pytest.raises(UnknownFormatError) as caught:
        open_source(name, format=fmt)
    assert all(known in caught.value.remedy for known in FORMATS)
    assert caught.value.exit_code == 2


def test_a_missing_file_a_folder_and_a_senseless_name_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name, cause in [
        ("missing.txt", "there is no such file"),
        ("folder.txt", "it is a folder"),
        ("nul\0.txt", "cannot be opened"),
        ("x" * 300 + ".txt", "cannot be opened"),
    ]:
        with pytest.raises(InputError, match=cause) as caught:
            open_source(tmp_path / name)
        assert caught.value.place == str(tmp_path / name)


def test_a_file_that_may_not_be_read_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "todo.txt"
    path.touch(mode=0o000)
    # The superuser may read everything: what the system says to others is said here.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="may not be read"):
        open_source(path)


def test_a_file_that_vanished_since_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "todo.txt"
    path.touch()
    source = open_source(path)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        list(source.read(refuse))


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_error_of_the_disk_while_reading_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: str
) -> None:
    class Dying(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

        def read1(self, size: int | None = -1, /) -> bytes:
            return self.read(size)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Dying()))
    with pytest.raises(InputError, match="Input/output error") as caught:
        list(open_source("-", format=fmt).read(refuse))
    assert caught.value.place == "standard input"


def test_what_the_caller_raises_while_reading_is_not_taken_for_an_error_of_the_input(
    tmp_path: Path,
) -> None:
    def full_disk(error: BrokenLineError) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "todo.txt"
    path.write_text("due:never\n")
    with pytest.raises(OSError, match="No space left"):
        list(open_source(path).read(full_disk))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_refused_by_its_name(tmp_path: Path, fmt: str, encoding: str) -> None:
    path = tmp_path / "tasks"
    path.write_bytes("\ufeffCall mum\n".encode(encoding))
    with pytest.raises(InputError, match="the file is UTF-16"):
        list(open_source(path, format=fmt).read(refuse))


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"Call mum\nPay due:x\n")))
    broken: list[BrokenLineError] = []
    tasks = list(open_source("-", format="todotxt").read(broken.append))
    assert [task.title for task in tasks] == ["Call mum"]
    assert [error.place for error in broken] == ["standard input:2"]


def test_a_pipe_is_not_drained_by_opening_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe.txt"
    os.mkfifo(path)
    source = open_source(path)
    writer = threading.Thread(target=path.write_text, args=("Call mum\n",))
    writer.start()
    assert [task.title for task in source.read(refuse)] == ["Call mum"]
    writer.join()


def test_strict_is_raising_in_the_callback(tmp_path: Path) -> None:
    path = tmp_path / "todo.txt"
    path.write_text("first\nbad pri:99\nlast\n")
    reading = open_source(path).read(refuse)
    assert next(reading).title == "first"
    with pytest.raises(BrokenLineError) as caught:
        next(reading)
    assert str(caught.value).startswith(f"{path}:2: the priority 99")


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_empty_file_has_no_tasks(tmp_path: Path, fmt: str) -> None:
    path = tmp_path / "tasks"
    for content in (b"", b"\n \n", b"\xef\xbb\xbf"):
        path.write_bytes(content)
        assert list(open_source(path, format=fmt).read(refuse)) == []


def test_a_source_can_be_read_again_and_counts_afresh(tmp_path: Path) -> None:
    path = tmp_path / "todo.txt"
    path.write_text("# comment\nCall mum\n")
    source = open_source(path)
    assert list(source.read(refuse)) == list(source.read(refuse))
    assert source.skipped == {"comment line": 1}
