"""What the script asks of Linux: orphans, mounts, and the processes that it started."""

import ctypes
import os
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
DISK = "256k"


def become_subreaper() -> None:
    """Let orphans of the commands become children of this process, so that none is overlooked."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def mount_own(disk: Path) -> bool:
    """Give this process mounts of its own: a small disk and an empty /dev/shm."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        return False
    mount = ["mount", "-t", "tmpfs", "-o"]
    steps = (
        ["mount", "--make-rprivate", "/"],
        [*mount, f"size={DISK}", "tmpfs", str(disk)],
        [*mount, "size=64m", "tmpfs", "/dev/shm"],  # noqa: S108
    )
    return all(
        subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps
    )


def descendants() -> list[psutil.Process]:
    """Return the living processes that this one started, directly or not; dead ones are reaped."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    found = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def describe(process: psutil.Process) -> str:
    """Return a process's number, state and command."""
    with suppress(psutil.NoSuchProcess):
        return f"{process.pid} ({process.status()}) {' '.join(process.cmdline())[:200]}"
    return f"{process.pid} (ended)"
