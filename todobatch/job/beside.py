"""Opens the files that a job keeps beside its output, and refuses those that it did not write.

While a job writes ``FILE``, it uses the names ``FILE.part``, ``FILE.part.journal`` and
``FILE.part.new``. What a stranger has put there is never followed, and never lost by accident.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from todobatch.errors import StoreError, UsageError
from todobatch.files import UnfitFileError, move_high, open_regular, read_regular
from todobatch.units import Bytes

if TYPE_CHECKING:
    from todobatch.coordinator.journal import Journal

_HEAD: Bytes = 4_096
"""This many bytes at the beginning of a file show whether todobatch wrote it."""

_LONGEST: Bytes = 4_096
"""A longer file ``.part.journal`` does not name a journal."""

_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free disk space"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "give yourself permission to write the file and its folder"
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "raise the limit of open files (see ulimit -n)"
    ),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "make the folder"),
    errno.EFBIG: "raise the limit of a file's size (see ulimit -f)",
    errno.EROFS: "make the file system writable",
    errno.ENAMETOOLONG: "give the file a shorter name",
}  # fmt: skip


def remedy_for(error: OSError) -> str:
    """Return what the user can do about a file that cannot be written."""
    return _REMEDIES.get(error.errno or 0, "check the file system")


def resolved(parameter: str, name: str | Path) -> Path:
    """Return the absolute path of a file, with links followed.

    Raises UsageError for a relative path if the current folder has been removed.
    """
    try:
        return Path(name).resolve()
    except FileNotFoundError as error:
        raise UsageError(
            "the current folder does not exist any more",
            place=f"`{parameter}` {name}",
            remedy="change to a folder that exists, or give an absolute path",
        ) from error


def open_beside(path: Path, flags: int = 0, *, follow: bool = False) -> IO[bytes]:
    """Open a regular file to read and write it; its descriptor has a high number.

    Unless `follow`, it may be neither a symbolic link nor have another name. Raises UnfitFileError
    for such a file and for a folder, a pipe or a device, and OSError.
    """
    try:
        return open(move_high(open_regular(path, os.O_RDWR | flags, follow=follow)), "r+b")
    except IsADirectoryError as error:
        raise UnfitFileError(errno.EISDIR, "it is a folder", str(path)) from error


def refuse_foreign(
    path: Path,
    is_ours: Callable[[bytes], bool],
    *,
    force: bool,
    file: IO[bytes] | None = None,
) -> None:
    """Raise UsageError for a file that todobatch did not write, unless `force` is set.

    `is_ours` gets the beginning of the file's content. An empty file is never refused. `file` is
    the file if it is open; it is left at its beginning. Raises OSError as `open_beside` does.
    """
    if file is None:
        try:
            with open_beside(path) as opened:
                refuse_foreign(path, is_ours, force=force, file=opened)
        except FileNotFoundError:
            pass
        return
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    if head and not force and not is_ours(head):
        raise UsageError(
            "the file exists, and todobatch did not write it; a job with this `output` needs its "
            "name",
            place=str(path),
            remedy="move it away, or name another `output`; or pass `force=True`, which replaces "
            "it",
        )


def in_the_way(error: UnfitFileError, or_another: str) -> StoreError:
    """Return the error for a link, a folder or the like at a name that the job needs."""
    return StoreError(
        f"{error.strerror}, and a job with this `output` needs its name",
        place=str(error.filename),
        remedy=f"move it away{or_another}",
    )


class Owner:
    """The file ``.part.journal``, which names the journal of the rows in the ``.part`` file."""

    def __init__(self, output: Path, journal: "Journal | None") -> None:
        self._output = output
        self._part = output.with_name(f"{output.name}.part")
        self._path = output.with_name(f"{output.name}.part.journal")
        self._journal = None if journal is None else journal.path.resolve()

    def check(self, *, force: bool) -> None:
        """Refuse to overwrite rows of another journal, and a file that todobatch did not write.

        Raises UsageError, and OSError as `open_beside` does.
        """
        owner = self._named()
        try:
            holds = owner is not None and self._part.stat().st_size > 0 and owner.is_file()
        except (OSError, ValueError):
            holds = False
        if holds and self._journal != owner:
            raise UsageError(
                f"{self._part.name} holds rows of an incomplete job; they belong to the journal "
                f"{owner}",
                place=f"`output` {self._output}",
                remedy=f"resume that job with its `journal` {owner}, or name another file; to "
                f"discard the job, remove {self._part}",
            )
        refuse_foreign(self._path, self._is_ours, force=force)

    def write(self) -> None:
        """Write the journal's name; without a journal, remove the file. Raises OSError."""
        if self._journal is None:
            self.remove()
            return
        with open_beside(self._path, os.O_CREAT) as file:
            file.truncate()
            file.write(os.fsencode(self._journal))

    def remove(self) -> None:
        """Remove the file, if there is one. Raises OSError."""
        self._path.unlink(missing_ok=True)

    def is_this_job(self) -> bool:
        """Return whether the file names the job's journal."""
        return self._journal is not None and self._named() == self._journal

    def _named(self) -> Path | None:
        """Return the journal that the file names, if it does."""
        try:
            content = read_regular(self._path, most=_LONGEST, follow=False)
            return Path(os.fsdecode(content))
        except (OSError, ValueError):
            return None

    def _is_ours(self, content: bytes) -> bool:
        own = None if self._journal is None else os.fsencode(self._journal)
        return content == own or (content.startswith(b"/") and b"\n" not in content)
