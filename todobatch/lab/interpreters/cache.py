"""The user's cache folder, and the two promises it makes to everything kept in it.

1. A folder with its final name is whole: it was made aside, in `staging`, and renamed into place.
2. One maker at a time: who makes NAME holds the lock of NAME. The kernel drops the lock when its
   holder dies, so a staging folder of NAME that the next holder finds is what was left behind.

::

    <cache>/interpreters/NAME   built from source, or uv/ for those that uv downloaded
    <cache>/support/NAME        what workers import besides todobatch, one folder an ABI
    <cache>/pythonpath/NAME     a link to the todobatch that is running
    <cache>/downloads/          verified source archives
    <cache>/logs/               of builds that failed
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
    """``$TODOBATCH_CACHE``, else ``$XDG_CACHE_HOME/todobatch``, else ``~/.cache/todobatch``."""
    own = os.environ.get("TODOBATCH_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification: a relative path there is to be ignored.
    base = Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
    return base / "todobatch"


def folder(*parts: str) -> Path:
    """A folder of the cache, made when it is not there; StoreError when it cannot be used."""
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

    `waiting` is called once when another process holds it; then this blocks until that one ends.
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
    """An empty folder to make `name` in; gone at the end, with all that earlier ones left behind.

    The caller holds the lock of `name`.
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
    """Remove what killed makers of `name` left behind. The caller holds the lock of `name`."""
    for left in folder("staging").glob(f"{name}@*"):
        shutil.rmtree(left, ignore_errors=True)


def move_into_place(made: Path, final: Path) -> None:
    """Rename a whole folder to its final name; what had that name before is moved out first."""
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists():
        # Only a folder that was found unusable is replaced. rename(2) wants its place empty.
        final.rename(made.parent / f"{final.name}.replaced")
    made.rename(final)


def size_of(path: Path) -> int:
    """Bytes of all files below a folder, each file counted once."""
    seen = {
        (info.st_dev, info.st_ino): info.st_size
        for file in path.rglob("*")
        if not file.is_symlink() and file.is_file()
        for info in [file.stat()]
    }
    return sum(seen.values())
