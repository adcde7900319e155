"""The faults of the drill, and the task that meets one. The workers run this.

One task out of many, the struck one, meets the fault; all others do a little honest work. A fault
that strikes once leaves a mark in a private folder, and the task passes the next time. A fault that
always strikes does so whenever the task is tried. The mark says when it first struck.

This module needs the standard library only: it loads in subinterpreters, and in the workers of
other packages' pools.
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
"""The environment variable with a `Strike` as JSON, for a processor that is made by its name."""
SLOW_S: Seconds = 0.5
WAIT_S: Seconds = 60.0
SQUARES = 2_000
ROOM: Bytes = 96 << 20
"""Memory that a process may still get while its task asks for `HUGE`. RLIMIT_AS sets the limit, so
that the process runs out of memory and the machine does not."""
HUGE: Bytes = 4 << 30
"""More than an allocator holds in reserve. It is refused, so none of it is ever used."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one task."""

    name: str
    summary: str
    needs: Need
    """What an executor must be able to do so that no other task is hurt."""
    always: bool
    """Whether it strikes whenever the task is tried, so that the task must be set aside."""
    act: Callable[[], Any]
    where: Literal["task", "aggregate"] = "task"
    """Where it strikes: in the task itself, or in the aggregate of its batch."""
    applies: Callable[[], bool] = lambda: True
    """Whether there is anything to strike; called in the worker, before the task is run."""


@dataclass(frozen=True, slots=True)
class Strike:
    """Which task a fault strikes, and the folder for its mark."""

    fault: str
    task: int
    folder: str


def work(number: int, strike: Strike) -> Any:
    """Run a task: meet the fault if it strikes now, else work. Returns the task's number."""
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
        raise ArithmeticError("the sum of squares is above 0")
    return number


class Drilled(TaskBatchProcessor):
    """Runs tasks whose titles are their numbers. A row is the number of its task."""

    name = "drill"

    def __init__(self, *, today: dt.date | None = None, strike: Strike | None = None) -> None:
        """Use `strike`; by default the one in the environment variable `SETTINGS`."""
        super().__init__(today=today)
        self._strike = strike or Strike(**json.loads(os.environ[SETTINGS]))
        # The coordinator makes the processor and pickles it to the workers: it is the one to kill.
        Path(self._strike.folder, PID).write_text(str(os.getpid()), "ascii")

    def process_task(self, task: Task) -> Json:
        """Return what `work` does."""
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
    """Return when the fault first struck, by `time.monotonic`, or None when it did not."""
    try:
        return float((folder / MARK).read_text("ascii"))
    except (OSError, ValueError):
        return None


def coordinator_pid(folder: Path) -> int | None:
    """Return the process that made the processor, or None when none has been made."""
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
    """Return whether the fault strikes now, and leave the mark the first time."""
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
    """Sleep with the GIL held, so that no other thread runs."""
    import ctypes

    ctypes.PyDLL(None).sleep(int(WAIT_S))
    raise TimeoutError("drill: nothing ended a task that holds the GIL")


def _kill_fork_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def _has_fork_server() -> bool:
    """Return whether a fork server started this process: no other parent may be killed."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return False


def _wait_to_be_killed() -> NoReturn:
    """Wait for `WAIT_S` at most: the drill itself may have been killed."""
    time.sleep(WAIT_S)
    raise TimeoutError("drill: the coordinator was not killed")


def _be_slow() -> None:
    time.sleep(SLOW_S)


def _give_a_lambda() -> Callable[[], None]:
    return lambda: None  # it cannot be pickled, and it is not JSON


def _run_out_of_memory() -> NoReturn:
    """Raise MemoryError from a real allocation that the system refuses."""
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
    raise NotImplementedError("drill: the limit of memory had no effect")


def _be_killed_for_memory() -> None:
    """Run out of memory, then die as by the kernel's out-of-memory killer."""
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
    Fault("slow", "a task takes half a second, once", "nothing", False, _be_slow),
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
        _kill_fork_server, applies=_has_fork_server,
    ),
    Fault("hung", "a task waits for ever, once", "deadline", False, _hang),
    Fault("hung-always", "a task waits for ever, always", "deadline", True, _hang),
    Fault("gil-held", "a task holds the GIL for ever, once", "deadline", False, _hold_the_gil),
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
