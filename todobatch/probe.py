"""Measures CPU time and peak memory of a whole process tree, from the kernel's counters.

It runs in the process that measures, never in a worker, and only before and after the timed part.
It is the only module that imports psutil.
"""

import resource
import sys
from pathlib import Path
from time import clock_gettime, process_time, thread_time  # a workload may change the module

import psutil

from todobatch.units import Bytes, Seconds


def tree_cpu_seconds() -> Seconds:
    """Return the CPU seconds (user and system) of this process and all its descendants until now.

    The difference of two calls is the CPU time of what ran between them. Descendants that ended
    count once their parent has waited for them. The cost of the calls themselves, some
    milliseconds, is subtracted. Call it from one thread only.
    """
    global _own_cost  # noqa: PLW0603 - what earlier calls took; one thread calls
    begun = thread_time()
    me = psutil.Process()
    total = process_time() - _own_cost + _waited_for(me)
    for child in me.children(recursive=True):
        try:
            total += _process_cpu(child) + _waited_for(child)
        except psutil.NoSuchProcess:
            continue
    _own_cost += thread_time() - begun
    return total


_own_cost: Seconds = 0.0


def tree_context_switches() -> tuple[int, int] | tuple[()]:
    """Return the voluntary and involuntary context switches of this process and its descendants.

    The difference of two calls counts what happened between them. Ended threads of children do not
    count. Returns an empty tuple outside Linux, where switches of running children are unknown.
    Sources: getrusage(2), proc_pid_status(5).
    """
    if not sys.platform.startswith("linux"):
        return ()
    usages = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    voluntary = sum(each.ru_nvcsw for each in usages)
    involuntary = sum(each.ru_nivcsw for each in usages)
    for child in psutil.Process().children(recursive=True):
        for task in Path(f"/proc/{child.pid}/task").glob("*"):
            try:
                with (task / "status").open("rb") as file:
                    lines = dict(line.split(b":", 1) for line in file if b"ctxt_switches" in line)
            except OSError:
                continue  # the thread ended meanwhile
            voluntary += int(lines.get(b"voluntary_ctxt_switches", 0))
            involuntary += int(lines.get(b"nonvoluntary_ctxt_switches", 0))
    return voluntary, involuntary


def tree_peak(*, beside: int | None = None) -> tuple[Bytes, str]:
    """Return the peak memory of this process and its live descendants, and the name of the method.

    ``'pss+hwm'`` (Linux): for each process, its present proportional set size plus
    VmHWM - VmRSS, which is how much larger its resident set once was. The proportional set size
    counts a page that n processes share as 1/n. The processes may have had their peaks at
    different moments, so this is an upper estimate.
    Sources: proc_pid_smaps(5), proc_pid_status(5).

    ``'maxrss+rss'`` (elsewhere): the peak resident set of this process plus the present one of each
    live descendant. Earlier peaks of descendants are not known.

    `beside` is the process of which this one is a fork, if it is outside the tree. Memory that only
    it shares with the tree then counts in full.
    """
    me = psutil.Process()
    if not sys.platform.startswith("linux"):
        unit = 1 if sys.platform == "darwin" else 1024
        peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak + sum(_resident(child) for child in me.children(recursive=True)), "maxrss+rss"
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += _linux_peak(process)
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
    if beside is not None:
        total += _shared_with_others(beside)
    return total, "pss+hwm"


def _shared_with_others(pid: int) -> Bytes:
    """Return the memory that a process shares: its proportional set size without private pages.

    Pages that unrelated processes use too are included, with this process's share of them.
    """
    try:
        seen = psutil.Process(pid).memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
    return int(seen.pss - seen.uss)


def _resident(process: psutil.Process) -> Bytes:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _process_cpu(process: psutil.Process) -> Seconds:
    """Return the CPU seconds of one live process, in nanoseconds if its CPU clock can be read.

    Source of the clock's number: clock_getcpuclockid(3) on Linux, ``~pid << 3 | CPUCLOCK_SCHED``.
    """
    if sys.platform.startswith("linux"):
        try:
            return clock_gettime(~process.pid << 3 | 2)
        except OSError:
            pass  # psutil raises the right error: the process ended, or access is denied
    times = process.cpu_times()
    return float(times.user + times.system)


def _waited_for(process: psutil.Process) -> Seconds:
    """Return the CPU seconds of the children that a process has already waited for."""
    times = process.cpu_times()
    return float(times.children_user + times.children_system)


def _linux_peak(process: psutil.Process) -> Bytes:
    with open(f"/proc/{process.pid}/status", "rb") as file:
        status = dict(line.split(b":", 1) for line in file if line.startswith(b"Vm"))
    if b"VmHWM" not in status:
        return 0  # a zombie has no memory
    above_now = _kib(status[b"VmHWM"]) - _kib(status[b"VmRSS"])
    try:
        now = int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        now = _kib(status[b"VmRSS"])
    return now + max(above_now, 0)


def _kib(value: bytes) -> Bytes:
    return int(value.split()[0]) * 1024
