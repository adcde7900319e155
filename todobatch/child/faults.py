"""The faults of the drill, and the tasks that they occur in. The workers run this module.

The fault strikes one of many tasks; all others do a little work. A file in a private folder, the
mark, records when it first struck. A fault that strikes once does nothing when it finds the mark;
others strike each time.

It imports only the standard library, because subinterpreters and other pools load it.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeAlias

from todobatch.model import Json, Task
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Bytes, Seconds

Need: TypeAlias = Literal["nothing", "crashes", "deadline", "journal"]

MARK = "struck"
PID = "coordinator"
SETTINGS = "TODOBATCH_DRILL"
"""The environment variable that holds a `Strike` as JSON, for a processor made by its name."""
SLOW_S: Seconds = 0.5
WAIT_S: Seconds = 60.0
SQUARES = 2_000
ROOM: Bytes = 96 << 20
"""RLIMIT_AS allows a process this many more bytes while its task allocates `HUGE`. So the process
runs out of memory, and the machine does not."""
HUGE: Bytes = 4 << 30
"""The bytes that a task tries to allocate: more than `ROOM`, so the system refuses."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one task."""

    name: str
    summary: str
    needs: Need
    """What an executor must be able to do so that no other task is lost."""
    always: bool
    """Whether the fault strikes each time the task is run, so that the task must be set aside."""
    act: Callable[[], Any]
    where: Literal["task", "aggregate"] = "task"
    """Where the fault strikes: in the task itself, or in the aggregate of its batch."""
    applies: Callable[[], bool] = lambda: True
    """Returns whether the fault can strike; called in the worker before the task is run."""


@dataclass(frozen=True, slots=True)
class Strike:
    """The task that a fault strikes, and the folder for the mark."""

    fault: str
    task: int
    folder: str


def work(number: int, strike: Strike) -> Any:
    """Run a task, which works or is struck by the fault. Returns the task's number."""
    fault = FAULTS[strike.fault]
    if (
        number == strike.task
        and fault.where == "task"
        and fault.applies()
        and _strikes(fault, strike)
    ):
        result = fault.act()
        if result is not None:
            return result
    if sum(n * n for n in range(SQUARES)) <= 0:
        raise ArithmeticError("the sum of squares must be above 0")
    return number


class Drilled(TaskBatchProcessor):
    """Runs tasks whose titles are their numbers; `strike` defaults to the variable `SETTINGS`."""

    name = "drill"

    def __init__(self, *, today: dt.date | None = None, strike: Strike | None = None) -> None:
        super().__init__(today=today)
        self._strike = strike or Strike(**json.loads(os.environ[SETTINGS]))
        # The process that makes the processor is the coordinator, which some faults kill.
        Path(self._strike.folder, PID).write_text(str(os.getpid()), "ascii")

    def process_task(self, task: Task) -> Json:
        """Return the task's number, or what the fault returns."""
        done: Json = work(int(task.title), self._strike)
        return done

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Return the usual aggregate, unless a fault strikes in it."""
        fault = FAULTS[self._strike.fault]
        struck = str(self._strike.task)
        here = fault.where == "aggregate" and any(task.title == struck for task in tasks)
        if here and _strikes(fault, self._strike):
            fault.act()
        return super().summarise(tasks, rows)


def struck_at(folder: Path) -> Seconds | None:
    """Return when the fault first struck, by `time.monotonic`, or None if it did not."""
    try:
        return float((folder / MARK).read_text("ascii"))
    except (OSError, ValueError):
        return None


def coordinator_pid(folder: Path) -> int | None:
    """Return the id of the process that made the processor, or None before that."""
    try:
        return int((folder / PID).read_text("ascii"))
    except (OSError, ValueError):
        return None


def unable(fault: Fault) -> str | None:
    """Return why the fault cannot strike on this system, or None when it can."""
    if fault.act in {_run_out_of_memory, _be_killed_for_memory} and _address_space() is None:
        return "this system does not show how much memory a process has, so it cannot be limited"
    return None


def _strikes(fault: Fault, strike: Strike) -> bool:
    """Return whether the fault strikes now, and write the mark the first time."""
    path = Path(strike.folder) / MARK
    aside = path.with_name(f"{MARK}-{os.getpid()}-{threading.get_ident()}")
    aside.write_text(repr(time.monotonic()), "ascii")
    try:
        os.link(aside, path)  # atomic, and only the first one succeeds
    except FileExistsError:
        return fault.always
    finally:
        aside.unlink()
    return True


def _raise() -> NoReturn:
    raise ValueError("drill: no such project")


def _exit() -> NoReturn:
    sys.exit("drill: a task wants to end its worker")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    _hang()  # the signal may take a moment


def _segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _hang() -> NoReturn:
    while True:
        threading.Event().wait()


def _hold_the_gil() -> None:
    """Sleep with the GIL held, so no other thread can run."""
    import ctypes

    ctypes.PyDLL(None).sleep(int(WAIT_S))
    raise TimeoutError("drill: nothing ended a task that holds the GIL")


def _has_fork_server() -> bool:
    """Return whether a fork server started this process; another parent must not be killed."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return False


def _wait_to_be_killed() -> NoReturn:
    """Wait to be killed, for `WAIT_S` at most, because the drill itself may have been killed."""
    time.sleep(WAIT_S)
    raise TimeoutError("drill: the coordinator was not killed")


def _give_a_lambda() -> Callable[[], None]:
    return lambda: None  # it cannot be pickled, and it is not JSON


def _run_out_of_memory() -> NoReturn:
    """Raise MemoryError by an allocation that the system refuses."""
    import resource

    used = _address_space()
    if used is None:
        raise NotImplementedError("drill: memory cannot be limited here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        bytearray(HUGE)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    raise NotImplementedError("drill: the memory limit had no effect")


def _be_killed_for_memory() -> None:
    """Run out of memory, then kill this process as the kernel's out-of-memory killer does."""
    try:
        _run_out_of_memory()
    except MemoryError:
        _kill()


def _address_space() -> int | None:
    """Return the bytes of this process's address space, from proc_pid_statm(5), or None."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except (OSError, ValueError):
        return None


_ALL = (
    Fault("exception", "a task raises, once", "nothing", False, _raise),
    Fault("poison", "a task raises whenever it is tried", "nothing", True, _raise),
    Fault("sys-exit", "a task calls sys.exit, always", "nothing", True, _exit),
    Fault("unpicklable", "a task gives a lambda back, always", "nothing", True, _give_a_lambda),
    Fault("slow", "a task takes half a second, once", "nothing", False, lambda: time.sleep(SLOW_S)),
    Fault("killed", "a worker gets SIGKILL, once", "crashes", False, _kill),
    Fault("segfault", "a worker reads address 0, once", "crashes", False, _segfault),
    Fault("segfault-always", "a task crashes each worker it meets", "crashes", True, _segfault),
    Fault(
        "out-of-memory", "an allocation fails, always", "crashes", True, _run_out_of_memory
    ),
    Fault(
        "oom-killed", "memory runs out, then SIGKILL, once", "crashes", False, _be_killed_for_memory
    ),
    Fault(
        "aggregate-crash", "summing up a batch with the task in it crashes, always", "crashes",
        True, _segfault, where="aggregate",
    ),
    Fault(
        "fork-server-killed", "what starts the workers gets SIGKILL, once", "crashes", False,
        lambda: os.kill(os.getppid(), signal.SIGKILL), applies=_has_fork_server,
    ),
    Fault("hung", "a task never ends, once", "deadline", False, _hang),
    Fault("hung-always", "a task never ends, always", "deadline", True, _hang),
    Fault("gil-held", "a task holds the GIL without end, once", "deadline", False, _hold_the_gil),
    Fault(
        "coordinator-killed", "the run gets SIGKILL and is started again", "journal", False,
        _wait_to_be_killed,
    ),
    Fault(
        "orphan", "the same while a task holds the GIL: no worker may live on", "journal", False,
        _hold_the_gil,
    ),
)  # fmt: skip
FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _ALL})
