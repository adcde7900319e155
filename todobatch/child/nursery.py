"""Forks the processes of samples and sides, after all imports and before anything has run.

The controller's side is `todobatch.lab.measure.nursery`, which says why. Each child leads a process
group of its own. This process ends when the controller does, and kills its children then. It must
never start a thread, because a process with threads must not fork.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TypeAlias

from todobatch.ipc.child_process import end_group
from todobatch.ipc.parent_process import ParentProcess

Role: TypeAlias = Callable[[ParentProcess], None]

POLL_S = 0.0005
LONGEST_POLL_S = 0.01
MOST_BYTES, MOST_DESCRIPTORS = 4096, 8
"""A request has at most this many bytes and this many open descriptors."""


def main() -> None:
    """Fork children on request: ``python -m todobatch.child.nursery ROLE CONTROL EVENTS``."""
    # Imported here, because the worker processes of a sample import this module again.
    import_module("todobatch.probe")  # for the children
    role: Role = import_module(f"todobatch.child.{sys.argv[1]}").run
    parent = ParentProcess.from_arguments()
    control = socket.socket(fileno=parent.control)
    alive: set[int] = set()
    try:
        while True:
            data, descriptors, *_ = socket.recv_fds(control, MOST_BYTES, MOST_DESCRIPTORS)
            if not data:
                return
            match json.loads(data):
                case {"wait": pid, "timeout_s": timeout_s}:
                    code = _wait(pid, timeout_s)
                    if code is not None:
                        alive.discard(pid)
                    parent.send("waited", code=code)
                case _:
                    pid = os.fork()
                    with suppress(OSError):
                        # In both processes, so that the group exists before either continues.
                        os.setpgid(pid, pid or os.getpid())
                    if pid == 0:
                        alive.clear()
                        control.close()
                        os.close(parent.events)
                        role(ParentProcess.after_fork(descriptors))
                        return
                    for descriptor in descriptors:
                        os.close(descriptor)
                    alive.add(pid)
                    parent.send("forked", pid=pid)
    finally:
        for pid in alive:
            end_group(pid)


def _wait(pid: int, timeout_s: float) -> int | None:
    """Return a child's exit code (below 0: a signal's number), or None while it runs."""
    end = time.monotonic() + timeout_s
    delay = POLL_S
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(delay)
        delay = min(2 * delay, LONGEST_POLL_S)


if __name__ == "__main__":
    main()
