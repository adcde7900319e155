"""What the demonstrations share: their command line, and threads that run at the same time."""

import argparse
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from todobatch import runtime
from todobatch.errors import TodobatchError
from todobatch.units import Seconds

TIMEOUT_S: Seconds = 120.0


def play(name: str, about: str | None, show: Callable[[], int]) -> int:
    """Run a demonstration here, or on the interpreter that the command line names.

    Returns the exit code of `show`, or of the error that was raised.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m examples.pitfalls.{name}", description=(about or "").partition("\n")[0]
    )
    parser.add_argument("--interpreter", metavar="SPEC", help="3.14, 3.14t, … or a path")
    spec = parser.parse_args().interpreter
    if spec is None:
        print(f"Python {platform.python_version()}, {_gil()}, {runtime.cpus_available()} CPUs\n")
        return show()
    from todobatch.lab.interpreters import find, worker_environment

    try:
        interpreter = find(spec)
        command = [str(interpreter.executable), "-m", f"examples.pitfalls.{name}"]
        return subprocess.run(
            command, check=False, timeout=TIMEOUT_S, env=worker_environment(interpreter)
        ).returncode
    except TodobatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _gil() -> str:
    build = "free-threaded build, " if runtime.free_threaded_build() else ""
    return f"{build}GIL {'on' if runtime.gil_enabled() else 'off'}"


def side_by_side(works: Sequence[Callable[[], None]]) -> None:
    """Run each function in a thread, all starting together, and wait; raise what one raised.

    Where possible, each thread is pinned to a CPU of its own. Some kernels pack short threads onto
    one CPU otherwise.
    """
    places = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    together = threading.Barrier(len(works))
    broken: list[BaseException] = []  # appended to, which no build lets lose anything

    def begin(number: int, work: Callable[[], None]) -> None:
        try:
            if places:
                os.sched_setaffinity(0, {places[number % len(places)]})  # this thread's own
            together.wait()
            work()
        except BaseException as error:
            broken.append(error)
            together.abort()

    threads = [
        threading.Thread(target=begin, args=(number, work)) for number, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
