"""Writes files that a crash cannot damage, opens only safe ones, and names files by any text.

It also moves descriptors to high numbers, where user code that uses a low number does not hit them.

It also makes temporary folders that are removed even if their process is killed: by the next one. A
folder is locked (flock(2)) while its process lives. Whoever makes a folder first removes those of
the same purpose that nobody locks.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_PATH = 60
"""A longer folder of the system is replaced by /tmp, because a socket's path has 107 bytes."""

LOWEST_OWN = 512
"""In processes that run user code, todobatch's descriptors have at least this number. It leaves as
many numbers below 1,024, because select(2) accepts no others. Under a low limit of open files it is
half of that limit."""


exists, is_file = os.path.exists, os.path.isfile
is_folder, is_link = os.path.isdir, os.path.islink
"""What the methods of a path say, but false where the user may not look. Before Python 3.14 those
raise PermissionError there, instead of the one who then opens the file."""


class UnfitFileError(OSError):
    """Raised for a file that is a link, a FIFO or a device, or is too large; `strerror` says it."""


def open_regular(
    path: Path | str, flags: int = os.O_RDONLY, *, most: int | None = None, follow: bool = True
) -> int:
    """Open a regular file of at most `most` bytes, and return its descriptor. It never waits.

    Unless `follow`, the file may not be a symbolic link, and one that is opened for writing may
    have no other name. Raises UnfitFileError for any other kind of file, and OSError.
    """
    how = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = os.open(path, flags | how, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise UnfitFileError(errno.ELOOP, "it is a symbolic link", str(path)) from error
        if error.errno == errno.ENXIO:  # a FIFO that nobody reads, or a socket
            raise UnfitFileError(errno.EINVAL, "it is not a regular file", str(path)) from error
        raise
    info = os.fstat(file)
    unfit = ""
    if not stat.S_ISREG(info.st_mode):
        unfit = "it is not a regular file"
    elif most is not None and info.st_size > most:
        unfit = f"it is larger than {most:,} bytes"
    elif not follow and flags & (os.O_WRONLY | os.O_RDWR) and info.st_nlink > 1:
        unfit = "it is a hard link, so another file would change too"
    if unfit:
        os.close(file)
        raise UnfitFileError(errno.EINVAL, unfit, str(path))
    return file


def read_regular(path: Path | str, *, most: int, follow: bool = True) -> bytes:
    """Return the content of a file that `open_regular` accepts. Raises OSError."""
    with open(open_regular(path, most=most, follow=follow), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:  # it has grown meanwhile
        raise UnfitFileError(errno.EINVAL, f"it is larger than {most:,} bytes", str(path))
    return data


def move_high(descriptor: int) -> int:
    """Move a descriptor to a high number, and return that number. It is not inheritable.

    The low number is closed. So user code that still uses it gets an error, and does no damage. A
    descriptor keeps its number if the limit of open files leaves no high one. Raises OSError if it
    is not open.
    """
    lowest = _lowest_own()
    if descriptor < lowest:
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            pass
        else:
            os.close(descriptor)
            return moved
    os.set_inheritable(descriptor, False)
    return descriptor


def open_high(path: str, flags: int) -> int:
    """Open a file as `os.open` does, but with a high number: an ``opener`` for `open`."""
    return move_high(os.open(path, flags, 0o666))


@contextmanager
def low_numbers_taken() -> Iterator[None]:
    """Give high numbers to all descriptors that are opened in the ``with`` block.

    It is for libraries that open files themselves. If the limit of open files is reached, the
    numbers may be low.
    """
    taken: list[int] = []
    lowest = _lowest_own()
    try:
        with suppress(OSError):
            taken.append(os.open(os.devnull, os.O_RDONLY))
            while taken[-1] < lowest - 1:
                taken.append(os.dup(taken[-1]))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _lowest_own() -> int:
    limit = os.sysconf("SC_OPEN_MAX")
    return LOWEST_OWN if limit < 0 else min(LOWEST_OWN, limit // 2)


def expanded(path: Path | str) -> Path:
    """Replace ``~`` by a home folder; a path of an unknown user stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def write_atomically(path: Path, data: bytes, *, follow: bool = True) -> None:
    """Replace a file's content: a crash leaves the old content or the new, never a mixture.

    The data and the folder's entry are on disk when this returns. A symbolic link is followed, or
    replaced unless `follow`. Raises OSError; the old file is unchanged then, and the temporary file
    beside it is removed.
    """
    target = path.resolve() if follow else path
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # left by a process that was killed, or put there as a trap
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk: a new or renamed file survives a crash only after that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_or_none(path: Path) -> str | None:
    """Return a file's text without surrounding whitespace, or None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def short_name(text: str, allowed: str = "A-Za-z0-9._+-") -> str:
    """Return a name for a file or an address that stands for `text`, and for no other text.

    It is the text itself if that is short and has only `allowed` characters. Otherwise the name is
    the beginning of the text with ``-`` for other characters, and a digest of the whole.
    """
    plain = re.sub(f"[^{allowed}]+", "-", text)
    fits = plain == text and re.fullmatch(r"[^.\-].{0,59}", text)
    if fits and not re.search(r"(^|-)[0-9a-f]{12}$", text):  # which would be taken for a digest
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[:40]}-{digest}".lstrip("-.")


class TemporaryFolder:
    """A new folder in the system's folder for temporary files.

    `purpose` is part of its name. With `short` its path is short enough for sockets in it. Raises
    OSError if no folder can be made.
    """

    def __init__(self, purpose: str, *, short: bool = False) -> None:
        home = Path(tempfile.gettempdir())
        if short and len(os.fsencode(home)) > LONGEST_PATH and os.access("/tmp", os.W_OK):  # noqa: S108
            home = Path("/tmp")  # noqa: S108
        prefix = f"todobatch-{purpose}-"
        _sweep(home, prefix)
        self.path = home
        self._lock: int | None = None
        while self._lock is None:  # otherwise another process swept it before it was locked
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
            try:
                self._lock = _lock(self.path)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    return  # nobody sweeps it either
                shutil.rmtree(self.path, ignore_errors=True)
                raise

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
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
    """Open and lock a folder; returns None if it is gone or another process has locked it.

    Raises OSError if it cannot be opened or the file system has no locks.
    """
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file), folder.lstat()):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}
