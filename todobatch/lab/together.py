"""How many CPUs two busy processes really get at once: measured, because settings do not tell all.

A kernel or hypervisor may keep what is short-lived on one CPU, and none of its files need say so.
So two fresh processes compute from one common moment to another, a tenth of a second and a second
later, and say how much CPU time each had.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from todobatch.lab.doctor import UNTOLD, Finding
from todobatch.units import Seconds

NAME = "CPUs used together"
SHORT_S: Seconds = 0.1
LONG_S: Seconds = 1.0
REPEATS = 4  # of both lengths: about 5 seconds
ENOUGH = 1.8  # CPUs of two; what is left over goes to the system and to waking up
AT_TIMES = 1.5  # a single repeat below this is worth a note

# One line when it is up, one to it with the end by the clock that all processes share, and one with
# the CPU seconds that it had. Whoever is never run until then had none.
_BUSY = """
import sys, time
print(flush=True)
end = float(sys.stdin.readline())
begun = time.process_time()
while time.monotonic() < end:
    pass
print(time.process_time() - begun, flush=True)
"""


@dataclass(frozen=True, slots=True)
class Together:
    """CPUs used by two busy processes, once a repeat; empty where it could not be measured."""

    short: tuple[float, ...]
    long: tuple[float, ...]


def measure(repeats: int = REPEATS) -> Together:
    """Take both lengths in turn; a repeat that goes wrong is left out. Ctrl-C ends it."""
    short, long = [], []
    for _ in range(repeats):
        short += once(SHORT_S)
        long += once(LONG_S)
    return Together(tuple(short), tuple(long))


def once(seconds: Seconds) -> list[float]:
    """CPUs that two busy processes used together for so long: one figure, or none."""
    try:
        with ExitStack() as stack:
            both = [stack.enter_context(_busy()) for _ in range(2)]
            for process in both:
                _line(process)
            end = time.monotonic() + seconds
            for process in both:
                assert process.stdin is not None
                process.stdin.write(f"{end!r}\n")
                process.stdin.flush()
            return [sum(float(_line(process)) for process in both) / seconds]
    except (OSError, ValueError):  # not started, gone before it was told, or without an answer
        return []


def judge(seen: Together, cpus_available: int) -> Finding:
    """What it says of short and long samples."""
    if cpus_available < 2:
        return Finding(NAME, "note", "there is only one CPU")
    if not seen.short or not seen.long:
        return Finding(NAME, "note", UNTOLD)
    said = (
        f"two busy processes used {_range(seen.short)} within {SHORT_S:g} s, "
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
    if statistics.median(seen.short) < ENOUGH:
        return Finding(
            NAME,
            "warning",
            said,
            "What is short runs one after the other on CPUs that idle: short samples show less "
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


@contextmanager
def _busy() -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _BUSY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for us, and we end it
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _range(used: Sequence[float]) -> str:
    return f"{statistics.median(used):.2f} CPUs ({min(used):.2f} to {max(used):.2f})"
