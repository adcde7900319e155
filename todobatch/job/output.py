"""Writes a job's rows to a file, which a resumed job continues."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import IO, TYPE_CHECKING, Annotated, Any

from todobatch.errors import StoreError, UsageError
from todobatch.files import (
    UnfitFileError,
    exists,
    is_file,
    is_folder,
    move_high,
    open_high,
    sync_folder,
)
from todobatch.ipc.decoding import from_json, within
from todobatch.job.beside import (
    Owner,
    in_the_way,
    open_beside,
    refuse_foreign,
    remedy_for,
    resolved,
)
from todobatch.job.rows import TAIL_BYTES, are_rows, holds_its_rows, keep_last_rows
from todobatch.job.spec import STDOUT
from todobatch.model import Batch, Json, ProcessingResult
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.journal import Journal

WAIT_FOR_LOCK_S: Seconds = 3.0
"""Opening waits this many seconds for the lock, because a run that was just killed may hold it."""
LOCK_POLL_S: Seconds = 0.05


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the journal knows of the file: see `RowFile.mark`."""

    bytes: Annotated[int, within(0, 2**62)]
    tail: str


def open_rows(
    name: str,
    source: str | None,
    journal: "Journal | None",
    *,
    force: bool = False,
    descriptor: int | None = None,
) -> "RowFile":
    """Open a file for rows, or use the open `descriptor` of standard output.

    With `force` a file that this job did not write is replaced at the end. Raises UsageError for a
    file that must not be overwritten, and StoreError if opening fails.
    """
    if descriptor is not None:
        return RowFile(Path(name), descriptor=descriptor)
    path = resolved("output", name)  # a link is followed, not replaced
    if not name or is_folder(path):
        raise UsageError(
            "it is a folder", place=f"`output` {name}", remedy="name a file in that folder"
        )
    if source is not None and exists(source):
        refuse_shared("output", name, {"input": source})
    if journal is not None and exists(path) and not is_file(path):
        raise UsageError(
            "rows cannot be removed from it when the job is resumed",
            place=f"`output` {name}",
            remedy="with `journal`, name a regular file",
        )
    fresh = journal is None or journal.output is None
    if fresh and not force and is_file(path) and path.stat().st_size:
        raise UsageError(
            "the file exists, and this job did not write it",
            place=f"`output` {name}",
            remedy="pass `force=True`, which replaces it when the job is complete; or name another "
            "file",
        )
    return RowFile(path, journal, force=force)


def refuse_shared(parameter: str, name: str, used: Mapping[str, str | None]) -> None:
    """Raise UsageError for a file that the job also uses for something else."""
    for other, path in used.items():
        if path is not None and resolved(other, path) == resolved(parameter, name):
            raise UsageError(
                f"the file is also the {other}",
                place=f"`{parameter}` {name}",
                remedy=f"name a file that is not the {other}",
            )


class RowFile:
    """Rows as JSON Lines, in the order in which batches finish.

    Rows are written to ``<path>.part``, which is moved to ``<path>`` when the job is complete. So
    no partial file ever replaces a complete one. Devices and pipes are written to directly.

    A resumed job removes the rows that its journal does not know, and appends new ones. The file
    may have its final name already.

    The file is locked (flock(2)) while a run writes it. ``<path>.part.journal`` names the journal
    of the rows, so that no other run overwrites them. It is removed when the job is complete.

    A retry of failed tasks appends their new rows to ``<path>.part``. The end of the job leaves the
    older ones out.

    An open `descriptor`, such as standard output, is written to directly, and closed at the end.

    The file's descriptor has a high number, because user code may write to a low one.
    """

    def __init__(
        self,
        path: Path,
        journal: "Journal | None" = None,
        *,
        descriptor: int | None = None,
        force: bool = False,
    ) -> None:
        self.path = path
        plain = descriptor is None and (is_file(path) or not exists(path))
        self._part = path.with_name(path.name + ".part") if plain else path
        self._owner = Owner(path, journal)
        self._new = path.with_name(path.name + ".part.new")
        self._journal = journal
        self._force = force
        self._rows = self._bytes = 0
        self._tail = b""
        mark = None if journal is None else journal.output
        self._named = mark is not None  # whether the folder's entry has been flushed
        phase = "running" if journal is None else journal.phase
        moved = phase == "finished" or (phase == "placing" and not exists(self._part))
        self._placed = moved and mark is not None
        here = path if self._placed else self._part
        try:
            if plain:
                self._file = self._locked(here, fresh=mark is None)
            elif descriptor is None:
                self._file = open(here, "wb", opener=open_high)  # noqa: SIM115
            else:
                self._file = open(move_high(descriptor), "wb")  # noqa: SIM115
            if mark is not None:
                try:
                    self._resume(mark)
                except BaseException:
                    self._file.close()
                    raise
        except (FileNotFoundError, UnfitFileError) as error:
            missing = isinstance(error, FileNotFoundError)
            if mark is None or not (missing or error.filename == str(here)):
                raise self._cannot(error) from error
            cause = "the file is missing" if missing else error.strerror
            raise self._other_rows(f"{cause}") from error
        except OSError as error:
            raise self._cannot(error) from error

    def write(self, batch: Batch, result: ProcessingResult) -> None:
        """Write one line for each task: its position, its title, and its row or error."""
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
                line["result"] = row  # null when a user's `process_batch` returns no rows
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
        """Flush the rows to disk, and return the file's length and the digest of its end."""
        try:
            self._file.flush()
            self._refuse_removed()
            os.fsync(self._file.fileno())
            if not self._named:
                sync_folder(self._part.parent)
                self._named = True
        except OSError as error:
            raise self._no_room(error) from error
        return self._mark()

    def begin_retry(self) -> None:
        """Let further rows be appended. A finished file stays as it is, and is copied to do so."""
        if not self._placed:
            return
        try:
            with self._file as finished:
                self._placed = False
                self._file = self._locked(self._part, fresh=True)
                finished.seek(0)
                shutil.copyfileobj(finished, self._file)
                self._named = False
                self.mark()
        except OSError as error:
            raise self._no_room(error) from error

    def keep_part(self) -> None:
        """Close the file after a failure. The rows stay in the ``.part`` file."""
        with suppress(OSError):  # the failure has said why
            self._file.close()

    def finish(self, *, complete: bool) -> None:
        """Flush the rows to disk and, when complete, move the file into place."""
        try:
            self._file.flush()
            plain = self._part != self.path
            if plain:
                self._refuse_removed()
                os.fsync(self._file.fileno())
            if complete and plain and not self._placed:
                if self._journal is not None and self._journal.replaced:
                    self._bytes, self._tail = keep_last_rows(self._file, self._new)
                    self._new.replace(self.path)
                    self._journal.output = self._mark()
                else:
                    self._part.replace(self.path)  # move the file before the lock is released
                sync_folder(self.path.parent)
            self._file.close()
            if complete and plain and not exists(self._part):
                self._owner.remove()
            elif not complete and not self._placed:
                self.path = self._part
        except OSError as error:
            raise self._no_room(error) from error

    def tidy(self) -> None:
        """Remove the job's ``.part`` file, when the journal says that the job is finished."""
        if self._owner.is_this_job():
            self._part.unlink(missing_ok=True)
            self._owner.remove()

    def _locked(self, here: Path, *, fresh: bool) -> IO[bytes]:
        """Open and lock the file. If `fresh`, empty it and record its journal."""
        self._owner.check(force=self._force)
        if self._journal is not None:
            refuse_foreign(self._new, are_rows, force=self._force)
        end = perf_counter() + WAIT_FOR_LOCK_S
        while True:
            file = open_beside(here, os.O_CREAT if fresh else 0, follow=self._placed)
            try:
                if not _locks(file):
                    self._wait(here, end)
                    file.close()
                    continue
                if not _names(here, file):  # the run that had the lock has moved the file
                    file.close()
                    continue
                self._owner.check(force=self._force)
                if fresh:
                    refuse_foreign(here, are_rows, force=self._force, file=file)
                if not self._placed:
                    self._owner.write()
                if fresh:
                    file.truncate()
            except BaseException:
                file.close()
                raise
            return file

    def _wait(self, here: Path, end: Seconds) -> None:
        """Wait for another try to lock the file. Raises StoreError after the time `end`."""
        if perf_counter() > end:
            raise self._in_use(here)
        sleep(LOCK_POLL_S)

    def _refuse_removed(self) -> None:
        """Raise StoreError if the file was removed, or another one has taken its name."""
        here = self.path if self._placed else self._part
        if self._part == self.path or _names(here, self._file):
            return
        first = "" if self._journal is None else f"remove the journal {self._journal.path}, then "
        raise StoreError(
            "the file was removed or replaced while the job wrote it, so its rows are lost",
            place=str(here),
            remedy=f"{first}run the whole job again, and leave the file alone until it ends",
        )

    def _mark(self) -> dict[str, Json]:
        return {"bytes": self._bytes, "tail": hashlib.sha256(self._tail).hexdigest()}

    def _in_use(self, here: Path) -> StoreError:
        return StoreError(
            "another run is writing it",
            place=str(here),
            remedy=f"wait until that run has ended, or end it{self._or_another('`output`')}",
        )

    def _or_another(self, what: str) -> str:
        """Return the end of a remedy: a job of which tasks are saved cannot change its output."""
        saved = self._journal is not None and self._journal.saved_tasks
        return "" if saved else f", or name another {what}"

    def _resume(self, mark: dict[str, Any]) -> None:
        """Remove the rows that the journal does not know, and continue after the others."""
        size = self._file.seek(0, os.SEEK_END)
        try:
            known = from_json(_Mark, mark)
        except UsageError as error:
            raise self._other_rows("the journal is damaged") from error
        self._bytes = known.bytes
        self._file.seek(max(self._bytes - TAIL_BYTES, 0))
        self._tail = self._file.read(min(self._bytes, TAIL_BYTES))
        if size < self._bytes or hashlib.sha256(self._tail).hexdigest() != known.tail:
            raise self._other_rows("its content differs")
        if self._placed and size != self._bytes:
            raise self._other_rows("it has further rows")
        if self._journal is not None and not holds_its_rows(self._file, self._bytes, self._journal):
            raise self._other_rows("it holds rows of other tasks")
        if size > self._bytes:
            self._file.truncate(self._bytes)
        self._file.seek(self._bytes)

    def _other_rows(self, cause: str) -> StoreError:
        return StoreError(
            f"it does not hold the rows that the journal saved: {cause}",
            place=str(self.path if self._placed else self._part),
            remedy="put the file back; or remove the journal, to run the whole job again",
        )

    def _cannot(self, error: OSError) -> StoreError:
        if isinstance(error, UnfitFileError):
            return in_the_way(error, self._or_another("`output`"))
        return StoreError(
            f"cannot be written: {error.strerror}",
            place=str(self.path),
            remedy=remedy_for(error)
            + self._or_another("`output`, in a folder where you may create files"),
        )

    def _no_room(self, error: OSError) -> StoreError:
        # The journal counts those of earlier runs too, and not those that it does not know yet.
        saved = self._rows if self._journal is None else self._journal.saved_tasks
        if self._part.name == STDOUT and isinstance(error, BrokenPipeError):
            return StoreError(
                f"its reader has closed it; {saved} rows were written",
                place="standard output",
                remedy="let the reader read to the end, or name a file as `output`",
            )
        if isinstance(error, UnfitFileError):
            return in_the_way(error, self._or_another("`output`"))
        place = "standard output" if self._part.name == STDOUT else str(self._part)
        return StoreError(
            f"cannot be written: {error.strerror}; {saved} tasks are saved",
            place=place,
            remedy=f"{remedy_for(error)}{self._or_another('`output`')}; then run the job again",
        )


def _locks(file: IO[bytes]) -> bool:
    """Lock the file and return True; return False if another process has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # the file system has no locks
    return True


def _names(path: Path, file: IO[bytes]) -> bool:
    """Return whether the path names the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False
