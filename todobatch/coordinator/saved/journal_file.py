"""The file of a journal: whether SQLite may open it, and the errors for one that it cannot use."""

import json
import os
import sqlite3
from pathlib import Path

from todobatch.errors import StoreError, UsageError
from todobatch.files import UnfitFileError, exists, is_file, is_folder, is_link, open_regular
from todobatch.units import Seconds

APPLICATION_ID = 0x746F646F
"""The application id that marks an SQLite file as a journal: the bytes of 'todo'."""
WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
"""A write-ahead log begins with one of these; see "WAL File Format" in SQLite's documentation."""
WAIT_FOR_LOCK_S: Seconds = 3.0
"""Opening waits this many seconds for the lock, because a run that was just killed may hold it."""


def saved_tasks(path: Path | str) -> int | None:
    """Return how many tasks a closed journal has saved; None if it cannot be read."""
    try:
        if why_unfit(Path(path)):
            return None
        db = sqlite3.connect(path, timeout=WAIT_FOR_LOCK_S)
        try:
            state = db.execute("SELECT state FROM journal").fetchone()[0]
        finally:
            db.close()
        return int((json.loads(state)["tally"] or {}).get("tasks", 0))
    except (
        OSError, sqlite3.Error, LookupError, TypeError, ValueError, AttributeError, RecursionError,
    ):  # fmt: skip
        return None


def refuse_unfit(path: Path) -> None:
    """Raise UsageError or StoreError for a file that SQLite must not even open."""
    place = f"`journal` {path}"
    if is_folder(path):
        raise UsageError("it is a folder", place=place, remedy="name a file in that folder")
    if exists(path) and not is_file(path):
        raise UsageError("it is not a regular file", place=place, remedy="name another file")
    if why := why_unfit(path):
        raise unusable(path, why)
    real = path.resolve() if is_link(path) else path  # SQLite follows a link
    for name in (Path(f"{real}-wal"), Path(f"{real}-shm")):
        if why := _why_in_the_way(name):
            raise StoreError(
                f"{name.name} is in the way: {why}, and SQLite needs this name",
                place=place,
                remedy=f"move {name} away, or name another file",
            )


def why_unfit(path: Path) -> str | None:
    """Return why SQLite must not even open a file; None for a journal and for a new file.

    SQLite plays a rollback journal back when it opens a database, and deletes the file that this
    journal names. It also changes a database of another program. Our journals have a write-ahead
    log. A rollback journal may be ours only beside an empty file, from a kill of an older version.
    """
    kind, pages = 0, 0
    if exists(path) and path.stat().st_size:
        # SQLite itself looks, because closing a file of our own would unlock it for this process
        # (fcntl(2)). It neither locks nor changes nor plays back a file that is called immutable.
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            # A full disk can leave fewer pages than the first one says; the log has the others.
            db.execute("PRAGMA writable_schema = ON")
            kind = db.execute("PRAGMA application_id").fetchone()[0]
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        except (sqlite3.Error, ValueError):  # ValueError: a damaged name in the error's text
            return "it is not a journal, or it is damaged"
        finally:
            db.close()
    rollback = Path(f"{path}-journal")
    if os.path.lexists(rollback):
        if pages or not is_file(rollback) or is_link(rollback):
            return f"there is a file {rollback.name} beside it, which todobatch does not write"
        rollback.unlink()
    # The first commit of a new journal may still be in its log.
    new = kind == 0 and pages <= 1
    return None if new or kind == APPLICATION_ID else "it is a database of another program"


def _why_in_the_way(beside: Path) -> str | None:
    """Return why SQLite must not write a file beside a journal; None for its own, or for none."""
    try:
        head = _read_head(beside)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return "it is a folder"
    except UnfitFileError as error:
        return error.strerror
    except OSError:
        return None  # SQLite says it when it opens the file
    if beside.name.endswith("-wal"):
        begun = head.rstrip(b"\0")  # a full disk may have cut it
        if not any(magic.startswith(begun) for magic in WAL_MAGIC):
            return "todobatch did not write it"
    return None


def _read_head(path: Path) -> bytes:
    """Return the first 4 bytes of a regular file that has no other name. Raises OSError."""
    with open(open_regular(path, os.O_RDWR, follow=False), "rb") as file:
        return file.read(4)


def unusable(path: Path, cause: str) -> StoreError:
    """Return the error for a file that is not a journal, or whose content cannot be true."""
    return StoreError(
        f"cannot be resumed: {cause}",
        place=f"`journal` {path}",
        remedy="name another file; or remove this one if it is yours, to begin the job anew",
    )


def not_retriable(path: Path) -> StoreError:
    """Return the error for a journal of schema 1, which does not know the failed tasks."""
    return StoreError(
        "it does not say which tasks failed, because an older version of todobatch began it",
        place=f"`journal` {path}",
        remedy="run the whole job with a new journal and a new `output`, or leave out "
        "`retry_failed`",
    )


def other_code(path: Path, workload: object, modules: list[str], saved: int) -> UsageError:
    """Return the error for a workload of which these modules have changed."""
    return UsageError(
        f"the code of the workload {workload} has changed since {saved} tasks were done "
        f"(modules: {', '.join(modules)})",
        place=f"`journal` {path}",
        remedy='to go on with the new code, pass `changed_code="keep"`; to do all tasks with it, '
        "name a new journal and a new `output`",
    )


def failed(path: Path, error: sqlite3.Error, saved: int) -> StoreError:
    """Return the error for what SQLite reports; `saved` tasks are saved."""
    name = getattr(error, "sqlite_errorname", "")
    place = f"`journal` {path}"
    if name in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
        return unusable(path, f"{error}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            "another run is writing it",
            place=place,
            remedy="wait until that run has ended, or end it; then run the same job again",
        )
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return StoreError(
            f"cannot be opened for writing: {error}",
            place=place,
            remedy="name a file in a folder where you may create files: SQLite puts a second "
            "file beside it",
        )
    return StoreError(
        f"cannot be written: {error}; {saved} tasks are saved",
        place=place,
        remedy="free disk space and run the same job again: it resumes",
    )
