"""Functions that use, or abuse, what surrounds them: context, process, event loop, descriptors."""

import asyncio
import contextvars
import decimal
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from todobatch.model import Task

decimal.getcontext().prec = 50
LANGUAGE = contextvars.ContextVar("LANGUAGE", default="none")
LANGUAGE.set("toki pona")
LOGS: list[TextIO] = []


def third(_task: Task) -> str:
    """Use the precision that this module set where it was imported."""
    return str(decimal.Decimal(1) / 3)


def own_precision(task: Task) -> str:
    """Set a precision of its own, which must be nobody else's."""
    decimal.getcontext().prec = 10 + zlib.crc32(task.title.encode()) % 30
    return str(sum((decimal.Decimal(1) / k for k in range(1, 60)), decimal.Decimal(0)))


def language(_task: Task) -> str:
    """Use a variable of the context in which this module was imported."""
    return LANGUAGE.get()


def around(_task: Task) -> list[object]:
    """What belongs to the process or the interpreter."""
    umask = os.umask(0)
    os.umask(umask)
    return [str(Path.cwd()), umask, os.environ.get("OF_THE_CALLER"), sys.getrecursionlimit()]


def fork(task: Task) -> int:
    """Fork a child that leaves the task in the way that the title says."""
    if (pid := os.fork()) == 0:
        if task.title == "exit":
            sys.exit(3)
        if task.title == "raise":
            sys.stderr = None  # the trace is expected
            raise ValueError(task.title)
        return -1
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class NotAnException(BaseException):
    """As pytest, trio and gevent raise."""


def raise_it(task: Task) -> str:
    """Raise what is no Exception, as the title says."""
    if task.title == "group":
        raise BaseExceptionGroup("two", [SystemExit(1), GeneratorExit()])
    kinds = {
        "generator": GeneratorExit, "cancelled": asyncio.CancelledError, "own": NotAnException,
    }  # fmt: skip
    if task.title in kinds:
        raise kinds[task.title]
    return task.title


async def cancel_itself(task: Task) -> str:
    """Cancel the asyncio task that runs it, and then await something or not."""
    me = asyncio.current_task()
    assert me is not None
    if task.title.startswith("cancel"):
        me.cancel()
    if task.title != "cancel and return":
        await asyncio.sleep(0)
    return task.title


async def _length(task: Task) -> int:
    await asyncio.sleep(0)
    return len(task.title)


def own_loop(task: Task) -> int:
    """Run an event loop, as a plain function may."""
    return asyncio.run(_length(task))


def close_all(task: Task) -> str:
    """Close every descriptor of the process, as a daemon does."""
    if task.title == "close":
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    return task.title


def write_low(task: Task) -> str:
    """Write to low descriptors, as code does that keeps a stale or a fixed number."""
    if task.title == "write":
        for descriptor in range(3, 21):
            with suppress(OSError):
                os.write(descriptor, b"progress 37%\n")
    return task.title


def reopen_low(task: Task) -> str:
    """Close low descriptors, and open a log of its own, which gets their numbers."""
    if task.title == "write" and not LOGS:
        os.closerange(3, 21)
        LOGS.append(Path(task.projects[0]).open("a", buffering=1))  # noqa: SIM115
    for log in LOGS:
        log.write("log\n")
    return task.title


def into_sockets(task: Task) -> str:
    """Write to all sockets of the process, as code does that damages what it finds."""
    if task.title == "write":
        _write_to_all(stat.S_ISSOCK)
    return task.title


def into_pipes(task: Task) -> str:
    """Write to all pipes of the process but its standard streams."""
    if task.title == "write":
        _write_to_all(stat.S_ISFIFO)
    return task.title


def _write_to_all(is_kind: Callable[[int], bool]) -> None:
    for path in Path("/dev/fd").iterdir():
        number = int(path.name)
        with suppress(OSError):  # `iterdir` has closed its own
            if number > 2 and is_kind(os.fstat(number).st_mode):
                os.write(number, b"debug: here I am\n")


def leave_a_child(task: Task) -> str:
    """Start a program that runs on, and end the worker."""
    if task.title == "crash":
        # It holds what it inherits until the test closes its standard input.
        subprocess.Popen(["sh", "-c", f"read line <{task.projects[0]}"], close_fds=False)
        os._exit(3)
    return task.title
