"""How many CPUs two busy threads really get at once: measured, because settings do not tell all.

A kernel or hypervisor may keep what is short-lived on one CPU, and none of its files need say so.
So two fresh threads of a free-threaded interpreter compute until a common moment, a tenth of a
second and a second away, and say how much CPU time each had. Where there is no such interpreter,
two processes do so; they may be spread over CPUs where threads are not.
"""

import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from todobatch.child_process import ChildProcess
from todobatch.lab.doctor.checks import UNTOLD, Finding
from todobatch.units import Seconds

NAME = "CPUs used together"
SHORT_S: Seconds = 0.1
LONG_S: Seconds = 1.0
REPEATS = 4  # of both lengths: about 5 seconds
ENOUGH = 1.8  # CPUs of two; what is left over goes to the system and to waking up
LESS, MUCH_LESS = 0.95, 0.9  # of what a long one got, for a short one
AT_TIMES = 1.5  # a single repeat below this is worth a note

START_TIMEOUT_S: Seconds = 10.0

# It is run with -I -S, so it speaks the protocol of `todobatch.child_process` by itself. A thread
# that got no CPU until the end used none.
_BUSY = """
import json, os, sys, threading, time

def busy():
    begun = time.thread_time()
    while time.monotonic() < end:
        pass
    used.append(time.thread_time() - begun)

def send(event):
    os.write(events, json.dumps(event).encode() + b"\\n")

threads, control, events = map(int, sys.argv[1:])
used = []
threads = [threading.Thread(target=busy) for _ in range(threads)]
send({"event": "ready"})
end = json.loads(os.read(control, 4096))
for each in threads:
    each.start()
for each in threads:
    each.join()
send({"event": "used", "cpu_s": sum(used)})
"""


@dataclass(frozen=True, slots=True)
class Together:
    """CPUs used by two, once a repeat; empty where it could not be measured."""

    short: tuple[float, ...]
    long: tuple[float, ...]
    who: str = "two busy processes"


def measure(free_threaded: Path | None, repeats: int = REPEATS) -> Together:
    """Take both lengths in turn; a repeat that goes wrong is left out. Ctrl-C ends it.

    `free_threaded` is an interpreter that runs threads side by side, if there is one.
    """
    short, long = [], []
    for _ in range(repeats):
        short += once(free_threaded, SHORT_S)
        long += once(free_threaded, LONG_S)
    who = "two busy processes" if free_threaded is None else "two busy free threads"
    return Together(tuple(short), tuple(long), who)


def once(free_threaded: Path | None, seconds: Seconds) -> list[float]:
    """CPUs that two threads or processes used together for so long: one figure, or none."""
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
    except OSError:  # it did not start, or it was too slow (TimeoutError is an OSError)
        return []
    return [sum(each["cpu_s"] for each in used if each) / seconds] if all(used) else []


def judge(seen: Together, cpus_available: int) -> Finding:
    """What it says of short and long samples."""
    if cpus_available < 2:
        return Finding(NAME, "note", "there is only one CPU")
    if not seen.short or not seen.long:
        return Finding(NAME, "note", UNTOLD)
    said = (
        f"{seen.who} used {_range(seen.short)} within {SHORT_S:g} s, "
        f"{_range(seen.long)} within {LONG_S:g} s"
    )
    if statistics.median(seen.long) < ENOUGH:
        return Finding(
            NAME,
            "warning",
            said,
            "Even long samples do not get two CPUs: others, a quota or the hypervisor take the "
            "rest, and speed-ups come out smaller.",
            "end what else is running, and look at the other findings",
        )
    share = statistics.median(seen.short) / statistics.median(seen.long)
    if share < LESS:
        return Finding(
            NAME,
            "warning" if share < MUCH_LESS else "note",
            said,
            "What is short gets less of two CPUs than what is long: short samples show less "
            "speed-up than a longer job has.",
            "make samples last a second or more (todobatch bench does, unless --batch-size makes "
            "them short)",
        )
    if min(*seen.short, *seen.long) < AT_TIMES:
        return Finding(
            NAME,
            "note",
            said,
            "At times two did not get two CPUs: some samples will show less speed-up than others.",
            "take more blocks: todobatch bench --blocks 20",
        )
    return Finding(NAME, "ok", said)


def _command(python: str, *, threads: int) -> list[str]:
    return [python, "-I", "-S", "-c", _BUSY, str(threads)]


def _range(used: Sequence[float]) -> str:
    return f"{statistics.median(used):.2f} CPUs ({min(used):.2f} to {max(used):.2f})"
