"""Measure how many CPUs two busy threads really get at the same time.

No setting shows this reliably: a kernel or hypervisor may keep short-lived threads on one CPU while
others are idle. So two new threads of a free-threaded interpreter compute for the same 0.1 s or
1 s, and report how much CPU time each got. Without such an interpreter two processes do the same; a
system may spread processes where it does not spread threads.
"""

import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from todobatch.ipc.child_process import ChildProcess
from todobatch.lab.doctor.checks import UNKNOWN, Finding
from todobatch.units import Ratio, Seconds

NAME = "CPUs in parallel"
SHORT_S: Seconds = 0.1
LONG_S: Seconds = 1.0
REPEATS = 4
"""Measurements of each length; all together take about 5 s."""
ENOUGH = 1.8
"""Two threads should get at least this many CPUs; the rest is for the system and for waking up."""
LESS: Ratio = 0.95
"""If a short measurement gets less than this share of a long one's CPUs, a note says so."""
MUCH_LESS: Ratio = 0.9
"""If a short measurement gets less than this share of a long one's CPUs, it is a warning."""
AT_TIMES = 1.5
"""A single measurement below this many CPUs is reported."""

START_TIMEOUT_S: Seconds = 10.0

# It runs with -I -S, so it cannot import todobatch and writes the messages of `ipc.child_process`
# itself. The end is a time of the monotonic clock, which all processes share.
_BUSY = """
import json, os, sys, threading, time

def busy():
    begun = time.thread_time()
    while time.monotonic() < end:
        pass
    used.append(time.thread_time() - begun)

def send(**event):
    os.write(events, json.dumps(event).encode() + b"\\n")

count, control, events = map(int, sys.argv[1:])
used = []
threads = [threading.Thread(target=busy) for _ in range(count)]
send(event="ready")
end = json.loads(os.read(control, 4096))
for each in threads:
    each.start()
for each in threads:
    each.join()
send(event="used", cpu_s=sum(used))
"""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """CPUs that two threads or processes got, one figure per measurement; empty if none worked."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    workers: str = "two busy processes"


def measure(free_threaded: Path | None, repeats: int = REPEATS) -> Parallelism:
    """Measure how many CPUs two busy workers get within 0.1 s and within 1 s.

    Both are measured `repeats` times in turn; failed measurements are left out. The workers are
    threads of the interpreter `free_threaded`, or processes if it is None.
    """
    short, long = [], []
    for _ in range(repeats):
        short += measure_once(free_threaded, SHORT_S)
        long += measure_once(free_threaded, LONG_S)
    workers = "two busy processes" if free_threaded is None else "two busy threads"
    return Parallelism(tuple(short), tuple(long), workers)


def measure_once(free_threaded: Path | None, seconds: Seconds) -> list[float]:
    """Return how many CPUs two threads or processes get in `seconds`; empty on failure."""
    if free_threaded is None:
        commands = [_command(sys.executable, threads=1)] * 2
    else:
        commands = [_command(str(free_threaded), threads=2)]
    try:
        with ExitStack() as stack:
            processes = [
                stack.enter_context(ChildProcess.start(command, os.environ)) for command in commands
            ]
            for process in processes:
                process.next_event(START_TIMEOUT_S)
            end = time.monotonic() + seconds
            for process in processes:
                process.send(end)
            used = [process.next_event(seconds + START_TIMEOUT_S) for process in processes]
    except OSError:  # it did not start in time: TimeoutError is an OSError
        return []
    return [sum(each["cpu_s"] for each in used if each) / seconds] if all(used) else []


def check(found: Parallelism, cpus_available: int) -> Finding:
    """Check whether short and long samples get the CPUs that they ask for."""
    if cpus_available < 2:
        return Finding(NAME, "note", "there is only one CPU")
    if not found.short or not found.long:
        return Finding(NAME, "note", UNKNOWN)
    seen = (
        f"{found.workers} used {_range(found.short)} within {SHORT_S:g} s, "
        f"{_range(found.long)} within {LONG_S:g} s"
    )
    if statistics.median(found.long) < ENOUGH:
        return Finding(
            NAME,
            "warning",
            seen,
            "Even long samples do not get two CPUs: other programs, a quota or the hypervisor use "
            "the rest. Speed-ups are smaller than the CPUs allow.",
            "end other programs, and read the other findings",
        )
    share = statistics.median(found.short) / statistics.median(found.long)
    if share < LESS:
        return Finding(
            NAME,
            "warning" if share < MUCH_LESS else "note",
            seen,
            "The system keeps short-lived threads together on few CPUs. Short samples show less "
            "speed-up than a longer job reaches.",
            "make samples last a second or more, as todobatch bench does by default",
        )
    if min(*found.short, *found.long) < AT_TIMES:
        return Finding(
            NAME,
            "note",
            seen,
            "Sometimes two threads do not get two CPUs. Some samples will show less speed-up.",
            "measure more blocks, so that such samples weigh less",
        )
    return Finding(NAME, "ok", seen)


def _command(python: str, *, threads: int) -> list[str]:
    return [python, "-I", "-S", "-c", _BUSY, str(threads)]


def _range(used: Sequence[float]) -> str:
    return f"{statistics.median(used):.2f} CPUs ({min(used):.2f} to {max(used):.2f})"
