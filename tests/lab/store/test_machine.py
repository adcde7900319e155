"""The machine is described so that its description can be published."""

import getpass
import json
import os
import socket
from pathlib import Path

import pytest

from todobatch.lab.store import machine


def test_the_description_is_json_without_names_or_paths() -> None:
    text = json.dumps(machine.describe())
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    assert str(Path.home()) not in text


def test_the_description_says_what_a_reader_of_figures_needs() -> None:
    described = machine.describe()
    assert described["cpus_available"] >= 1
    assert described["cpu_model"]
    assert described["memory_bytes"] > 100_000_000
    assert len(described["load"]) == 3


@pytest.mark.parametrize(
    ("args", "kept"),
    [
        ("'--prefix=/opt/x' '--disable-gil'", "'--disable-gil'"),
        ("--exec-prefix=/opt --enable-optimizations", "--enable-optimizations"),
        ("'--with-openssl=/opt/ssl' 'CFLAGS=-O2 -g'", "'CFLAGS=-O2 -g'"),
        ("", ""),
    ],
)
def test_build_options_are_kept_without_those_that_name_folders(args: str, kept: str) -> None:
    assert machine.without_paths(args) == kept


def test_messages_are_kept_without_their_folders() -> None:
    message = machine.without_folders(
        "OSError: '/home/me/secret/plan.txt' is gone, see https://a/b"
    )
    assert message == "OSError: '…/plan.txt' is gone, see https://a/b"


def test_a_path_is_written_from_here_or_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert machine.portable(Path("tasks.txt")) == "tasks.txt"
    assert machine.portable(tmp_path / "a" / "b.txt") == os.path.join("a", "b.txt")  # noqa: PTH118
    monkeypatch.setenv("HOME", "/home/somebody")
    assert machine.portable(Path("/home/somebody/todo.txt")) == "~/todo.txt"
