"""What the drill does to one task out of many. This is what the workers run.

One task, the struck one, meets the fault; all others do a little honest work. A fault that strikes
once leaves a mark in a private folder and lets the task pass the next time; one that strikes always
does so whenever the task is tried. The mark holds when it struck first.

Standard library only: it must load in a subinterpreter, and in the workers of other people's pools.
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
"""Environment variable with a `Strike` as JSON, for a processor that is made by its name."""
SLOW_S: Seconds = 0.5
WAIT_S: Seconds = 60.0
SQUARES = 2_000
ROOM: Bytes = 96 << 20
"""How much more memory than it has a process may get hold of while its task asks for `HUGE`: by
RLIMIT_AS, so that the process runs out and never the machine."""
HUGE: Bytes = 4 << 30
"""More than what an allocator holds in reserve. It is refused, so not one byte of it is touched."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one task."""

    name: str
    summary: str
    needs: Need
    """What an executor must be able to do for no other task to be hurt."""
    always: bool
    """It strikes whenever the task is tried, so that the task must be set aside."""
    act: Callable[[], Any]
    where: Literal["task", "aggregate"] = "task"
    """Whether it meets the task itself, or what sums up a batch that it is in."""
    applies: Callable[[], bool] = lambda: True
    """Asked in the worker, when it is the task's turn: whether there is anything to strike."""


@dataclass(frozen=True, slots=True)
class Strike:
    """Which fault meets which task, and the folder for its mark."""

    fault: str
    task: int
    folder: str


def work(number: int, strike: Strike) -> Any:
    """One task: meet the fault if it is this task's turn, else work. Gives the task's number."""
    fault = FAULTS[strike.fault]
    if (
        number == strike.task
        and fault.where == "task"
        and fault.applies()
        and _strikes(fault, strike)
    ):
        outcome = fault.act()
        if outcome is not None:
            return outcome
    if sum(n * n for n in range(SQUARES)) <= 0:
        raise ArithmeticError("the sum of squares is above 0")
    return number


class Drilled(TaskBatchProcessor):
    """Tasks whose titles are their numbers, one of which is struck. A row names its task."""

    name = "drill"

    def __init__(self, *, today: dt.date | None = None, strike: Strike | None = None) -> None:
        """Without a `strike` it is read from the environment (`SETTINGS`)."""
        super().__init__(today=today)
        self._strike = strike or Strike(**json.loads(os.environ[SETTINGS]))
        # Made by the coordinator, and pickled to the workers: this is whom to kill.
        Path(self._strike.folder, PID).write_text(str(os.getpid()), "ascii")

    def process_task(self, task: Task) -> Json:
        """See `work`."""
        done: Json = work(int(task.title), self._strike)
        return done

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """The usual one, in which a fault of the aggregate strikes."""
        fault = FAULTS[self._strike.fault]
        struck = str(self._strike.task)
        here = fault.where == "aggregate" and any(task.title == struck for task in tasks)
        if here and _strikes(fault, self._strike):
            fault.act()
        return super().summarise(tasks, rows)


def struck_at(folder: Path) -> Seconds | None:
    """`time.monotonic()` when the fault struck first, or None when it did not."""
    try:
        return float((folder / MARK).read_text("ascii"))
    except (OSError, ValueError):
        return None


def coordinator_pid(folder: Path) -> int | None:
    """The process that made the processor, or None when it did not get so far."""
    try:
        return int((folder / PID).read_text("ascii"))
    except (OSError, ValueError):
        return None


def unable(fault: Fault) -> str | None:
    """Why this system cannot take the fault, or None."""
    if fault.act in {_run_out_of_memory, _be_killed_for_memory} and _address_space() is None:
        return "this system does not tell how much memory a process has, so it cannot be bounded"
    return None


def _strikes(fault: Fault, strike: Strike) -> bool:
    """Whether it strikes now; leaves the mark the first time."""
    path = Path(strike.folder) / MARK
    aside = path.with_name(f"{MARK}-{os.getpid()}-{threading.get_ident()}")
    aside.write_text(repr(time.monotonic()), "ascii")
    try:
        os.link(aside, path)  # whole or not at all, and for the first one only
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
    _hang()  # a signal to oneself may take a moment


def _segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def _hang() -> NoReturn:
    while True:
        threading.Event().wait()


def _hold_the_gil() -> None:
    """No other thread runs until this is over, where there is a GIL."""
    import ctypes

    ctypes.PyDLL(None).sleep(int(WAIT_S))
    raise TimeoutError("drill: nobody ended a task that holds the GIL")


def _kill_fork_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def _has_fork_server() -> bool:
    """Whether this process was started by one; whose end would be somebody else's otherwise."""
    try:
        return b"multiprocessing.forkserver" in Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    except OSError:
        return False


def _wait_to_be_killed() -> NoReturn:
    """Not for ever: nobody may be left to do it."""
    time.sleep(WAIT_S)
    raise TimeoutError("drill: nobody killed the coordinator")


def _be_slow() -> None:
    time.sleep(SLOW_S)


def _give_a_lambda() -> Callable[[], None]:
    return lambda: None  # it neither pickles nor is it JSON


def _run_out_of_memory() -> NoReturn:
    """Ask for more than the system grants: MemoryError, from a real allocation that failed."""
    import resource

    used = _address_space()
    if used is None:
        raise NotImplementedError("drill: memory cannot be bounded here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        bytearray(HUGE)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    raise NotImplementedError("drill: the limit on memory did not hold")


def _be_killed_for_memory() -> None:
    """What the kernel does to a process that runs out of memory for good."""
    try:
        _run_out_of_memory()
    except MemoryError:
        _kill()


def _address_space() -> int | None:
    """The bytes of this process's address space, from proc_pid_statm(5)."""
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
