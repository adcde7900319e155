"""Fixtures and helpers for tests of commands, such as a user's folder with a workload."""

import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a user's own folder with a workload in it."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            '''
            """A user's own workload."""
            import ctypes
            import os
            import pathlib
            import signal

            def shout(task):
                if "boom" in task.title:
                    raise RuntimeError("this one is too loud")
                return task.title.upper()

            async def whisper(task):
                return task.title.lower()

            def touch(task):
                with open("touched", "a") as file:
                    file.write(task.title + "\\n")
                return None

            def die(task):
                if "boom" in task.title:
                    os.kill(os.getpid(), signal.SIGKILL)
                return task.title

            def hold_the_gil(task):
                if task.title == "boom now":
                    pathlib.Path("started").touch()
                    ctypes.PyDLL(None).sleep(600)
                return task.title

            def wait_for_go(task):
                pathlib.Path("started").touch()
                while not pathlib.Path("go").exists():
                    pass
                return task.title
            '''
        )
    )
    (tmp_path / "todo.txt").write_text("(A) first +p\nboom\nx 2026-01-02 2026-01-01 third\nlast\n")
    return tmp_path


def document_of(stdout: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(stdout)
    return document


def processes_below(pid: int) -> list[int]:
    """Return all descendants of process `pid`, from the process table."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below = [pid]
    for one in below:
        below += [child for child, parent in parents.items() if parent == one]
    return below[1:]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[Any] | None") -> None:
    """Poll until a condition is true; the timeout of the test ends the wait."""
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended early with {process.returncode}")
        os.sched_yield()
