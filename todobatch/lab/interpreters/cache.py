"""The user's cache folder, and its two guarantees.

1. A folder with its final name is complete: it was made in `staging` and renamed into place.
2. One process at a time makes NAME: it holds the lock of NAME. The kernel releases the lock when
   its holder dies, so the next holder may remove any staging folder of NAME.

::

    <cache>/interpreters/NAME   built from source, or uv/ for those that uv downloaded
    <cache>/support/NAME        dependencies of measured processes, one folder an ABI
    <cache>/pythonpath/NAME     a link to the running todobatch
    <cache>/downloads/          verified source archives
    <cache>/logs/               logs of failed builds
    <cache>/locks/  staging/    as above
"""

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from todobatch.errors import StoreError


def cache_dir() -> Path:
    """Return $TODOBATCH_CACHE, else $XDG_CACHE_HOME/todobatch, else ~/.cache/todobatch."""
    own = os.environ.get("TODOBATCH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification says to ignore a relative path.
    base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "todobatch"


def folder(*parts: str) -> Path:
    """Return a folder of the cache, created if missing. Raises StoreError when it is unusable."""
    path = cache_dir().joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it is not writable")
    except OSError as error:
        raise StoreError(
            f"the cache folder cannot be used: {error.strerror}",
            place=str(path),
            remedy="make it writable, or name another one in TODOBATCH_CACHE",
        ) from error
    return path


@contextmanager
def lock(name: str, *, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of `name` against all processes of this machine.

    When another process holds it, `waiting` is called once and this blocks until it is free.
    """
    with open(folder("locks") / f"{name}.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file drops the lock


@contextmanager
def staging(name: str) -> Iterator[Path]:
    """Provide an empty folder to make `name` in, and remove it at the end.

    What killed processes left there is removed first. The caller holds the lock of `name`.
    """
    base = folder("staging")
    remove_stale(name)
    path = base / f"{name}@{uuid.uuid4().hex[:8]}"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_stale(name: str) -> None:
    """Remove what killed processes left of `name`. The caller holds the lock of `name`."""
    for left in folder("staging").glob(f"{name}@*"):
        shutil.rmtree(left, ignore_errors=True)


def move_into_place(made: Path, final: Path) -> None:
    """Rename a complete folder to its final name, after moving an earlier one out of the way."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        # rename(2) needs a free name. The earlier folder was found unusable.
        final.rename(made.parent / f"{final.name}.replaced")
    made.rename(final)


def size_of(path: Path) -> int:
    """Return the bytes of all files below a folder; a file with several links counts once."""
    seen = {
        (info.st_dev, info.st_ino): info.st_size
        for file in path.rglob("*")
        if not file.is_symlink() and file.is_file()
        for info in [file.stat()]
    }
    return sum(seen.values())
