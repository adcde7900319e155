"""Fixtures for the lab: workloads that measured processes can import, and interpreters."""

from pathlib import Path

import pytest

from todobatch.lab.interpreters import Interpreter

MINE = """
import os, signal, sys, time


def length(task):
    return len(task.title)


def raises(task):
    raise RuntimeError(f"no luck with {task.title}")


def hangs(task):
    time.sleep(600)


def dies(task):
    os.kill(os.getpid(), signal.SIGKILL)


calls = 0


def dies_once(task):
    global calls
    calls += 1
    if calls == 40:  # the warm-up has at most 16
        try:
            os.close(os.open("died", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return len(task.title)
        os.kill(os.getpid(), signal.SIGKILL)
    return len(task.title)


def different(task):
    return os.getpid()


def pins_itself(task):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def gives_up_the_process(task):
    sys.stderr.write("the reactor is hot\\n")
    sys.stderr.flush()
    os._exit(7)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module with workloads that measured processes can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "mine.py").write_text(MINE)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return "mine"


@pytest.fixture
def interpreters(python314: Interpreter, python314t: Interpreter) -> dict[str, Interpreter]:
    """Return both measured interpreters by label."""
    return {"3.14": python314, "3.14t": python314t}
