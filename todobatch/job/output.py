"""The file of rows that a job writes, which a killed job can continue."""

import fcntl
import hashlib
import json
import os
import sys
from pathlib import Path
from time import perf_counter, sleep
from typing import IO, TYPE_CHECKING, Any

from todobatch.errors import StoreError, UsageError
from todobatch.model import Batch, Json, ProcessingResult
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.journal import Journal

WAIT_FOR_LOCK_S: Seconds = 3.0
"""How long to wait for the file: a run that was just killed may hold its lock for a moment."""
LOCK_POLL_S: Seconds = 0.05
TAIL_BYTES = 4096
"""How many bytes at the end of the file the journal knows by their digest."""


def open_rows(name: str, source: str | None, journal: "Journal | None") -> "RowFile":
    """Where rows go. Raises UsageError for what would destroy something, StoreError."""
    path = Path(name).resolve()  # a link is followed, not replaced
    if not name or path.is_dir():
        raise UsageError("it is a folder", place=f"--output {name}", remedy="name a file in it")
    if source is not None and Path(source).exists() and path == Path(source).resolve():
        raise UsageError(
            "it is the input itself", place=f"--output {name}", remedy="name another file"
        )
    if journal is not None and path.exists() and not path.is_file():
        raise UsageError(
            "rows that are written twice cannot be taken back there",
            place=f"--output {name}",
            remedy="with --journal the output must be a plain file",
        )
    return RowFile(path, journal)


class RowFile:
    """Rows as JSON Lines, in the order in which batches finish; moved into place when complete.

    Until then they are in ``<path>.part``, so that an earlier complete file is never half replaced.
    What is no regular file (a device, a pipe) is written to as it is.

    What stands in the file beyond the mark that the journal kept is cut off, and writing goes on
    there; the file may have its last name already.

    The file is locked (flock(2)) as long as a run writes it. A second one beside it,
    ``<path>.part.journal``, says which journal its rows belong to, so that no run without that
    journal writes over them; it goes when the output is complete.
    """

    def __init__(self, path: Path, journal: "Journal | None" = None) -> None:
        self.path = path
        plain = path.is_file() or not path.exists()
        self._part = path.with_name(path.name + ".part") if plain else path
        self._owner = path.with_name(path.name + ".part.journal")
        self._journal = journal
        self._rows = self._bytes = 0
        self._tail = b""
        mark = None if journal is None else journal.output
        self._named = mark is not None  # whether the file's name is on the disk for sure
        placed = journal is not None and journal.phase != "running"
        self._placed = placed and mark is not None and not self._part.exists()
        here = path if self._placed else self._part
        try:
            self._file = self._locked(here, fresh=mark is None) if plain else here.open("wb")
            if mark is not None:
                try:
                    self._go_on(mark)
                except BaseException:
                    self._file.close()
                    raise
        except FileNotFoundError as error:
            if mark is None:
                raise self._cannot(error) from error
            raise self._other_rows("it is gone") from error
        except OSError as error:
            raise self._cannot(error) from error

    def write(self, batch: Batch, result: ProcessingResult) -> None:
        """One line a task: its position, title and row, or its error."""
        errors = {failure.task: failure.error for failure in result.failures}
        rows = result.rows or (None,) * len(batch)
        lines = []
        for place, (task, row) in enumerate(zip(batch.tasks, rows, strict=True), start=batch.first):
            line: dict[str, Any] = {"task": place, "title": task.title}
            if place in errors:
                line["error"] = errors[place]
            elif result.rows is None and not result.tasks_processed:
                line["error"] = result.error
            else:
                line["result"] = row  # null where a `process_batch` of the user's own gives no rows
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        data = "".join(lines).encode("utf-8", "backslashreplace")
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        self._rows += len(lines)
        self._bytes += len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def mark(self) -> dict[str, Json]:
        """Bring what is written to the disk, and say what it is for a journal to keep."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            if not self._named:
                _sync_folder(self._part.parent)
                self._named = True
        except OSError as error:
            raise self._no_room(error) from error
        return {"bytes": self._bytes, "tail": hashlib.sha256(self._tail).hexdigest()}

    def keep_part(self) -> None:
        """Close what there is after a failure; it stays in the .part file."""
        try:
            self._file.close()
        except OSError as error:
            print(f"todobatch: {self._part}: {error.strerror}", file=sys.stderr)

    def finish(self, *, complete: bool) -> None:
        """Flush to disk and, when complete, move it into place."""
        try:
            self._file.flush()
            plain = self._part != self.path
            if plain:
                os.fsync(self._file.fileno())
            if complete and plain and not self._placed:
                self._part.replace(self.path)  # before its lock is given up
                _sync_folder(self.path.parent)
            self._file.close()
            if complete and plain:
                self._owner.unlink(missing_ok=True)
            elif not self._placed:
                self.path = self._part
        except OSError as error:
            raise self._no_room(error) from error

    def _locked(self, here: Path, *, fresh: bool) -> IO[bytes]:
        """The file, open and locked; emptied when `fresh`, and known to be the journal's."""
        self._refuse_anothers()
        end = perf_counter() + WAIT_FOR_LOCK_S
        while True:
            file = open(os.open(here, os.O_RDWR | (os.O_CREAT if fresh else 0), 0o666), "r+b")  # noqa: SIM115
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if perf_counter() > end:
                        raise self._in_use(here) from None
                    sleep(LOCK_POLL_S)
                    file.close()
                    continue
                except OSError:
                    pass  # a file system that has no locks
                if not _is_still(here, file):  # the run that had it has moved it into place
                    file.close()
                    continue
                self._refuse_anothers()
                if self._journal is None:
                    self._owner.unlink(missing_ok=True)
                elif not self._placed:
                    self._owner.write_text(str(self._journal.path.resolve()), "utf-8")
                if fresh:
                    file.truncate()
            except BaseException:
                file.close()
                raise
            return file

    def _refuse_anothers(self) -> None:
        """Refuse to write over rows that a journal which is not ours knows of."""
        try:
            owner = Path(self._owner.read_text("utf-8"))
            holds = self._part.stat().st_size > 0 and owner.is_file()
        except (OSError, ValueError):
            return
        if holds and (self._journal is None or self._journal.path.resolve() != owner):
            raise UsageError(
                f"{self._part.name} holds the rows of a job that is not complete, which belong to "
                f"the journal {owner}",
                place=f"--output {self.path}",
                remedy=f"go on with that job by --journal {owner}, or name another --output; to "
                f"give it up, remove {self._part}",
            )

    def _in_use(self, here: Path) -> StoreError:
        return StoreError(
            "another run is writing it",
            place=str(here),
            remedy="wait until that one has ended, or end it, or name another --output",
        )

    def _go_on(self, mark: dict[str, Any]) -> None:
        """Stand where the journal says that the rows it knows of end."""
        size = self._file.seek(0, os.SEEK_END)
        self._bytes = int(mark["bytes"])
        self._file.seek(max(self._bytes - TAIL_BYTES, 0))
        self._tail = self._file.read(min(self._bytes, TAIL_BYTES))
        if size < self._bytes or hashlib.sha256(self._tail).hexdigest() != mark["tail"]:
            raise self._other_rows("it holds something else")
        if self._placed and size != self._bytes:
            raise self._other_rows("it holds more")
        if size > self._bytes:
            self._file.truncate(self._bytes)
        self._file.seek(self._bytes)

    def _other_rows(self, cause: str) -> StoreError:
        return StoreError(
            f"it does not hold the rows that the journal knows to be written: {cause}",
            place=str(self.path if self._placed else self._part),
            remedy="put that file back; or remove the journal, to run the whole job anew",
        )

    def _cannot(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot be written: {error.strerror}",
            place=str(self.path),
            remedy="name a file in a folder that exists and is yours with --output",
        )

    def _no_room(self, error: OSError) -> StoreError:
        # With a journal: earlier runs' too, and none that it does not know of yet.
        saved = self._rows if self._journal is None else self._journal.saved_tasks
        return StoreError(
            f"cannot be written: {error.strerror}; {saved} tasks are saved",
            place=str(self._part),
            remedy="make room or name another place with --output, and run again",
        )


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Bring a new name in it to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
