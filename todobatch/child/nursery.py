"""Where the processes of samples are born: an interpreter that has imported all and done nothing.

    controller ── fork, with the child's ends of its pipes ──► socket on standard input
    controller ◄── its process id, later how it ended ───────── the same

Each child is a fork of this process as it stands after its imports: a process of its own, in a
process group of its own, that has run nothing. See `todobatch.lab.measure.nursery` for why.

It ends when the controller does. It never has a second thread: such a process must not fork.
psutil and pyperf are not imported at the top: worker processes import this module again.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

Role: TypeAlias = Callable[[Sequence[int]], None]

POLL_S = 0.0005
LONGEST_POLL_S = 0.01
MOST_FDS = 8


def main() -> None:
    """``python -m todobatch.child.nursery ROLE < socket``"""
    role = _imported(sys.argv[1])
    control = socket.socket(fileno=0)
    alive: set[int] = set()
    try:
        while request := socket.recv_fds(control, 4096, MOST_FDS):
            message, fds, *_ = request
            if not message:
                return
            word, *rest = message.decode().split()
            if word == "fork":
                pid = os.fork()
                with suppress(OSError):  # in both, or one could be ended before it has its group
                    os.setpgid(pid, pid or os.getpid())
                if pid == 0:
                    alive.clear()
                    _become(control, fds, role)
                    return
                for fd in fds:
                    os.close(fd)
                alive.add(pid)
                answer = str(pid)
            else:
                pid = int(rest[0])
                code = _wait(pid, float(rest[1]))
                if code is not None:
                    alive.discard(pid)
                answer = "alive" if code is None else str(code)
            with suppress(BrokenPipeError):
                control.sendall(answer.encode() + b"\n")
    finally:
        for pid in alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)


def _imported(role: str) -> Role:
    """What the children are to be, with all its imports done."""
    from todobatch import probe  # noqa: F401 - for the children

    if role == "side":
        from todobatch.child import turns as side_process

        return side_process.run
    import pyperf  # noqa: F401 - for the children

    from todobatch.child import sample as sample_process

    return sample_process.run


def _become(control: socket.socket, fds: Sequence[int], role: Role) -> None:
    """In the child: take its own standard streams, and do what it was made for.

    `fds` are standard input, standard error, and what the role takes.
    """
    control.detach()
    nothing = os.open(os.devnull, os.O_WRONLY)
    for fd, standard in ((fds[0], 0), (nothing, 1), (fds[1], 2)):
        os.dup2(fd, standard)
        os.close(fd)
    for fd in fds[2:]:
        os.set_inheritable(fd, False)  # worker processes must not hold the controller's pipes open
    role(fds[2:])


def _wait(pid: int, timeout: float) -> int | None:
    """The exit code of a child, the signal's number below 0; None when it is not done in time."""
    end = time.monotonic() + timeout
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
