"""Facts about the running interpreter and its CPUs: version, build, GIL, affinity."""

import datetime as dt
import os
import platform
import signal
import sys
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NoReturn, TypedDict

_PR_SET_PDEATHSIG = 1


class RuntimeFacts(TypedDict):
    """What an interpreter reports about itself."""

    version: str  # '3.14.7'
    implementation: str  # 'cpython'
    executable: str
    free_threaded_build: bool
    gil_enabled: bool
    debug_build: bool
    optimized_build: bool  # profile-guided (--enable-optimizations)
    lto_build: bool
    config_args: str
    compiler: str
    cache_tag: str  # 'cpython-314' on both builds


def gil_enabled() -> bool:
    """Return whether the GIL is on in this process now; before Python 3.13 it always is."""
    probe = getattr(sys, "_is_gil_enabled", None)
    return True if probe is None else bool(probe())


def free_threaded_build() -> bool:
    """Return whether this is a free-threaded build. Its GIL may be on: see `gil_enabled`."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def cpus_available() -> int:
    """Return how many CPUs this process may run on, by its affinity mask if there is one."""
    return len(cpus_allowed()) or os.cpu_count() or 1


def cpus_allowed() -> tuple[int, ...]:
    """Return the CPUs that the calling thread may run on; empty if the system does not say."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def stay_on(cpu: int) -> None:
    """Pin the calling thread, and threads that it starts later, to one CPU."""
    os.sched_setaffinity(0, {cpu})


forks = 0
"""How many forks lie between the start of the program and this process."""


def _count_fork() -> None:
    global forks  # noqa: PLW0603 - a fork copies one thread only, so nobody else writes it
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


def end_forked_child(error: BaseException | None = None) -> NoReturn:
    """End this process: a child that a task has forked, and in which the task has ended.

    `error` is the exception that ended the task, or None. The child would otherwise continue as a
    second worker, and deliver results twice.
    """
    code: object = 0
    if isinstance(error, SystemExit):
        code = error.code
    elif error is not None:
        import traceback  # it takes milliseconds, and few tasks fork

        code = 1
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed or full: there is nobody to tell
            stream.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def end_with_parent() -> bool:
    """Have the system kill this process when the thread that started it has ended.

    It uses prctl(2), PR_SET_PDEATHSIG, which needs no thread here, and so no GIL. Returns False on
    systems without it. A parent that has ended before the call is not noticed.
    """
    if (prctl := _function_of_c("prctl")) is None:
        return False
    from ctypes import c_ulong

    arguments = [c_ulong(each) for each in (signal.SIGKILL, 0, 0, 0)]
    return bool(prctl(_PR_SET_PDEATHSIG, *arguments) == 0)


def _function_of_c(name: str) -> Callable[..., int] | None:
    """Return a function of the C library; None if there is none of that name."""
    try:
        from ctypes import CDLL

        function: Callable[..., int] = getattr(CDLL(None), name)
    except (ImportError, OSError, AttributeError):
        return None
    return function


def current_cpu() -> int | None:
    """Return the CPU that the calling thread runs on; None if the system does not say."""
    ask = _sched_getcpu()
    return None if ask is None else ask()


@cache
def _sched_getcpu() -> Callable[[], int] | None:
    # sched_getcpu(3) takes under 1 µs; reading /proc instead takes 20 µs.
    ask = _function_of_c("sched_getcpu")
    return ask if ask is not None and ask() >= 0 else None


def today() -> dt.date:
    """Return the local date, which due dates are compared with.

    A job keeps the date on which it began, so its output does not change after midnight.
    """
    return dt.datetime.now(tz=dt.UTC).astimezone().date()


def signal_name(number: int) -> str:
    """Return the name of a signal, ``9`` -> ``'SIGKILL'``; a real-time signal has only a number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_end(code: int) -> str:
    """Return how a process ended, from its exit code (below 0: minus the signal's number)."""
    if code < 0:
        return f"was killed ({signal_name(-code)})"
    return f"ended with exit code {code}"


def facts() -> RuntimeFacts:
    """Describe the running interpreter."""
    config_args = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "free_threaded_build": free_threaded_build(),
        "gil_enabled": gil_enabled(),
        "debug_build": hasattr(sys, "gettotalrefcount"),
        "optimized_build": "--enable-optimizations" in config_args,
        "lto_build": "--with-lto" in config_args,
        "config_args": config_args,
        "compiler": platform.python_compiler(),
        "cache_tag": sys.implementation.cache_tag or "",
    }
