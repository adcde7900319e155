"""Writes files that a crash cannot damage, and reads files that may be missing."""

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content: a crash leaves the old content or the new, never a mixture.

    The data and the folder's entry are on disk when this returns. A symbolic link is followed.
    Raises OSError; the old file is unchanged then, and the temporary file beside it is removed.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
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
