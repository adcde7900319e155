"""Temporary folders that are removed even if their process was killed: by the next one.

A folder is locked (flock(2)) while its process lives. Whoever makes a folder first removes those of
the same purpose that nobody locks.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_PATH = 60
"""A longer folder of the system is replaced by /tmp, because a socket's path has 107 bytes."""


class TemporaryFolder:
    """A new folder in the system's folder for temporary files.

    `purpose` is part of its name. Raises OSError if no folder can be made.
    """

    def __init__(self, purpose: str) -> None:
        home = Path(tempfile.gettempdir())
        if len(os.fsencode(home)) > LONGEST_PATH and os.access("/tmp", os.W_OK):  # noqa: S108 - short
            home = Path("/tmp")  # noqa: S108
        prefix = f"todobatch-{purpose}-"
        _sweep(home, prefix)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
            lock = _lock(self.path)
            if lock is not None:  # otherwise another process has swept it before it was locked
                self._lock = lock
                return

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._lock)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Make a folder for the time of the ``with`` block. Raises OSError if none can be made."""
    folder = TemporaryFolder(purpose)
    try:
        yield folder.path
    finally:
        folder.remove()


def _sweep(home: Path, prefix: str) -> None:
    """Remove folders of this user whose process has ended."""
    for path in home.glob(f"{prefix}*"):
        with suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            if (lock := _lock(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Open and lock a folder; returns None if it is gone or another process has locked it."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), folder.lstat()):
            return file
    except OSError:
        pass
    os.close(file)
    return None
