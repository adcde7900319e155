"""Processors that misbehave on purpose, in a module that every worker can import."""

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors import TaskBatchProcessor
from todobatch.processors.base import as_batch

MEETING_TIMEOUT_S = 30.0


class Picky(TaskBatchProcessor):
    """Fails a task in the way that its title names."""

    name = "picky"

    # A list of ways to fail, each chosen by the title.
    def process_task(self, task: Task) -> Json:  # noqa: C901
        if task.title == "raise":
            raise ValueError("no such project")
        if task.title == "exit":
            sys.exit("a task may not end a worker")
        if task.title == "no json":
            return object()  # type: ignore[return-value]
        if task.title == "deep":
            return nested(200_000)
        if task.title == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.title == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if task.title == "read address 0":
            ctypes.string_at(0)
        if task.title == "leave":
            os._exit(3)
        if task.title == "nap":
            time.sleep(0.5)
        if task.title == "hang":
            threading.Event().wait()
        if task.title == "hold the GIL":
            os.write(1, b"holding\n")
            ctypes.PyDLL(None).sleep(600)
        if task.title.startswith("kill when there is "):
            path = Path(task.title.removeprefix("kill when there is "))
            while not path.exists():
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        if task.title.startswith("wait for "):
            path = Path(task.title.removeprefix("wait for "))
            while not path.exists():
                time.sleep(0.001)
        return task.title


def nested(depth: int) -> Json:
    """Return a list that is nested `depth` times."""
    row: list[Json] = []
    for _ in range(depth):
        row = [row]
    return row


class Raising(TaskBatchProcessor):
    """Breaks the rule that `process_batch` does not raise."""

    name = "raising"

    def process_task(self, task: Task) -> Json:
        return None

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        raise RuntimeError("the processor itself is broken")

    async def process_batch_async(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return self.process_batch(tasks)


class Returning(TaskBatchProcessor):
    """Returns something that is not a result."""

    name = "returning"

    def process_task(self, task: Task) -> Json:
        return None

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return None  # type: ignore[return-value]

    async def process_batch_async(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        return self.process_batch(tasks)


class Cancelling(TaskBatchProcessor):
    """Raises `asyncio.CancelledError`, which asyncio uses to end a coroutine."""

    name = "cancelling"

    def process_task(self, task: Task) -> Json:
        raise asyncio.CancelledError


class Unpicklable(TaskBatchProcessor):
    """Cannot be sent to another process or interpreter."""

    name = "unpicklable"

    def __reduce__(self) -> str:
        raise TypeError("this one stays here")

    def process_task(self, task: Task) -> Json:
        return None


class BadPartial(TaskBatchProcessor):
    """Returns a result that does not pickle if a task asks for it."""

    name = "bad-partial"

    def process_task(self, task: Task) -> Json:
        return task.title

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        result = super().process_batch(tasks)
        if "lambda" not in {task.title for task in as_batch(tasks).tasks}:
            return result
        return replace(result, partial={"rows": lambda: 0})


class DeadlyPartial(TaskBatchProcessor):
    """Returns a result that kills or hangs its worker when pickled, if a task asks for it."""

    name = "deadly-partial"

    def process_task(self, task: Task) -> Json:
        return task.title

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        result = super().process_batch(tasks)
        for title in ("die in pickling", "hang in pickling"):
            if title in {task.title for task in as_batch(tasks).tasks}:
                return replace(result, partial={"rows": Deadly(title)})
        return result


class Deadly:
    """A value that kills the process, or hangs, when it is pickled."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __reduce__(self) -> str:
        if self.how.startswith("hang"):
            threading.Event().wait()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it is dead")


class NeverUp(TaskBatchProcessor):
    """Hangs its worker's start, as an import may, until a certain file exists."""

    name = "never-up"

    def __init__(self, go: str) -> None:
        super().__init__()
        self.go = go

    def process_task(self, task: Task) -> Json:
        return task.title

    def __reduce__(self) -> tuple[object, ...]:
        return _wait_for, (self.go,)


class KillsOneStart(TaskBatchProcessor):
    """Kills the first worker that loads it, as the system does when memory is short."""

    name = "kills-one-start"

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        """A file; the worker that removes it is the first one."""

    def process_task(self, task: Task) -> Json:
        return task.title

    def __reduce__(self) -> tuple[object, ...]:
        return _kill_one, (self.order,)


def _kill_one(order: str) -> KillsOneStart:
    with suppress(FileNotFoundError):
        Path(order).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return KillsOneStart(order)


def _wait_for(go: str) -> NeverUp:
    while not Path(go).exists():
        time.sleep(0.01)
    return NeverUp(go)


class Unloadable:
    """A value that pickles and cannot be unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise LookupError("not in this process")


class Poison:
    """A value that kills the process that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return _die, (os.getpid(),)


def _die(maker: int) -> None:
    if os.getpid() != maker:
        os.kill(os.getpid(), signal.SIGKILL)


class Meeting(TaskBatchProcessor):
    """Finishes a task when `wanted` tasks run at the same moment: a sequence point for tests.

    The tasks meet in a folder, whose path is their title. Threads, interpreters and processes all
    share it.
    """

    name = "meeting"
    wanted = 2

    def process_task(self, task: Task) -> Json:
        folder = self._arrive(task)
        deadline = time.monotonic() + MEETING_TIMEOUT_S
        while not self._met(folder, deadline):
            time.sleep(0.001)
        return "met"

    async def process_task_async(self, task: Task) -> Json:
        folder = self._arrive(task)
        deadline = time.monotonic() + MEETING_TIMEOUT_S
        while not self._met(folder, deadline):  # noqa: ASYNC110 - others may be elsewhere
            await asyncio.sleep(0.001)
        return "met"

    def _arrive(self, task: Task) -> Path:
        if task.done:  # it is not to meet anyone
            return Path()
        folder = Path(task.title)
        (folder / str(task.priority)).touch()
        return folder

    def _met(self, folder: Path, deadline: float) -> bool:
        if folder == Path():
            return True
        if time.monotonic() > deadline:
            raise TimeoutError("nobody else came: these workers do not run side by side")
        return len(list(folder.iterdir())) >= self.wanted


def plain(task: Task) -> str:
    """Return the title in capitals: a plain function as a workload."""
    return task.title.upper()


async def awaiting(task: Task) -> str:
    """Return the title in capitals: an async function as a workload."""
    await asyncio.sleep(0)
    return task.title.upper()
