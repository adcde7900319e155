"""What happens to a command at a random moment."""

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.random_faults.case import EXECUTORS, TASKS, Case, ended, finish, has_ended

FILE_LIMITS = (0, 30_000)  # bytes; the journal and the output are larger
FORKED = "multiprocessing.forkserver"


@dataclass(frozen=True)
class Fault:
    """A way to damage a command."""

    do: Callable[[Case], int]
    """Starts the command, damages it, and returns its exit code or the negative signal."""
    executors: tuple[str, ...] = EXECUTORS
    interrupts: bool = False
    """Whether the command may fail; otherwise it must do all tasks in spite of the fault."""


def signalled(target: str, number: signal.Signals) -> Callable[[Case], int]:
    """Return a function that sends a signal to a process of the command at a random moment."""

    def do(case: Case) -> int:
        command = case.start()
        if not wait_for_moment(case, command):
            return finish(case, command)
        while (victim := find(target, command, case.dice)) is None:
            time.sleep(0.003)
            if (code := ended(command)) is not None:
                return code
        with suppress(ProcessLookupError):
            os.kill(victim, number)
        # A worker that is stopped before it is ready is replaced too, but only after a minute.
        never = target == "a worker" and case.rows() > 0 and case.dice.random() < 0.5
        if number == signal.SIGSTOP and not never:
            time.sleep(case.dice.uniform(0.0, 0.7))
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGCONT)
        return finish(case, command)

    return do


def closing(case: Case) -> int:
    """Let a task close random descriptors of its process."""
    command = case.start()
    if wait_for_moment(case, command):
        fresh = case.order.with_suffix(".new")
        fresh.write_text(str(case.number))
        fresh.rename(case.order)
    code = finish(case, command)
    case.order.unlink(missing_ok=True)  # when no task was left
    return code


def full_disk(case: Case) -> int:
    """Fill the disk of the journal, the output or both; free it after the command."""
    if not case.bench.private:
        return finish(case, case.start(case.dice.randint(*FILE_LIMITS)))
    command = case.start()
    filler = case.bench.disk / "filler"
    if wait_for_moment(case, command):
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
    code = finish(case, command)
    filler.unlink(missing_ok=True)
    return code


def file_limit(case: Case) -> int:
    """Limit the size of each file that the command writes, as a quota does."""
    return finish(case, case.start(case.dice.randint(*FILE_LIMITS)))


FAULTS = {
    "kill the command": Fault(signalled("the command", signal.SIGKILL), interrupts=True),
    "kill the job's process": Fault(
        signalled("the job's process", signal.SIGKILL), interrupts=True
    ),
    "kill a worker": Fault(signalled("a worker", signal.SIGKILL), ("processes",)),
    "kill the fork server": Fault(signalled("the fork server", signal.SIGKILL), ("processes",)),
    "kill the tracker": Fault(signalled("the tracker", signal.SIGKILL), ("processes",)),
    "stop the command": Fault(signalled("the command", signal.SIGSTOP)),
    "stop the job's process": Fault(signalled("the job's process", signal.SIGSTOP)),
    "stop a worker": Fault(signalled("a worker", signal.SIGSTOP), ("processes",)),
    "stop the fork server": Fault(signalled("the fork server", signal.SIGSTOP), ("processes",)),
    "close descriptors": Fault(closing),
    "full disk: journal": Fault(full_disk, interrupts=True),
    "full disk: output": Fault(full_disk, interrupts=True),
    "full disk: journal and output": Fault(full_disk, interrupts=True),
    "file limit": Fault(file_limit, interrupts=True),
}


def wait_for_moment(case: Case, command: int) -> bool:
    """Wait for a random moment; return False when the command ends before.

    It is a random time in half of the cases, and a random number of rows in the others.
    """
    until = time.monotonic() + case.bench.whole_s[case.executor, case.spec] * case.dice.random()
    rows = case.dice.randrange(TASKS) if case.dice.random() < 0.5 else None
    while (time.monotonic() < until) if rows is None else (case.rows() <= rows):
        time.sleep(0.003)
        if has_ended(command):
            return False
    return not has_ended(command)


def find(target: str, command: int, dice: random.Random) -> int | None:
    """Return the number of the process to damage; None when it does not exist at the moment."""
    if target == "the command":
        return command
    with suppress(psutil.NoSuchProcess):
        for engine in psutil.Process(command).children():
            if "todobatch.job.engine" not in engine.cmdline():
                continue
            if target == "the job's process":
                return engine.pid
            for helper in engine.children():
                text = " ".join(helper.cmdline())
                if target == "the tracker" and "resource_tracker" in text:
                    return helper.pid
                if target == "the fork server" and FORKED in text:
                    return helper.pid
                if target == "a worker" and FORKED in text and (workers := helper.children()):
                    return dice.choice(workers).pid
    return None
