"""Processes are not threads: nobody else sees what a worker process changes.

The same function counts in a global variable, under a lock, in two threads and in two processes.
Each process counts in its own copy, which is lost when the process ends. Return what you need.
"""

import os
import sys
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

from examples.pitfalls.stage import play

WORKERS = 2
CALLS = 10
TASKS_A_CALL = 100

_lock = threading.Lock()  # guards `done`
done = 0


def work(tasks: int) -> tuple[int, int]:
    """Count the given number of tasks here; return the worker's process id and the count."""
    global done  # noqa: PLW0603 - the mistake that this is about
    with _lock:
        done += tasks
    return os.getpid(), tasks


@dataclass(frozen=True, slots=True)
class Seen:
    """What this process found after one way of counting."""

    way: str
    tasks: int
    in_the_global: int
    returned: int
    other_processes: int
    """Processes that did the work, without this one."""


def in_pool(way: str, pool: Executor) -> Seen:
    """Let a pool do the work, then read the global variable."""
    global done  # noqa: PLW0603 - as above
    done = 0
    with pool:
        answers = list(pool.map(work, [TASKS_A_CALL] * CALLS))
    others = {pid for pid, _ in answers} - {os.getpid()}
    return Seen(way, CALLS * TASKS_A_CALL, done, sum(tasks for _, tasks in answers), len(others))


def see() -> tuple[Seen, Seen]:
    """Count in threads, then in processes, and return what this process sees of each."""
    return (
        in_pool("threads", ThreadPoolExecutor(WORKERS)),
        in_pool("processes", ProcessPoolExecutor(WORKERS)),
    )


def show() -> int:
    """Print what was seen."""
    print("workers     tasks done   in the global   sum of what was returned")
    for seen in see():
        print(f"{seen.way:<9} {seen.tasks:>12,} {seen.in_the_global:>15,} {seen.returned:>26,}")
    print("\nEach process counted in a copy of its own. Return what is to come back.")
    return 0


if __name__ == "__main__":
    sys.exit(play("processes", __doc__, show))
