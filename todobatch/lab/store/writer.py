"""Write a run folder so that no saved sample is lost.

* `run.json` is replaced as a whole (`todobatch.files.write_atomically`).
* Each sample is one line, on disk before `RunWriter.append` returns. If the write fails, the file
  is truncated to its last whole line.
* There is one writer at a time: the open `samples.jsonl` is locked (flock(2)). The kernel releases
  the lock of a killed process.
* `load_run` leaves out a last line that a kill or a power cut left incomplete; `open_run` removes
  it. A last line that only lacks its newline is kept, and gets the newline before the next record.
"""

import fcntl
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from todobatch.errors import StoreError
from todobatch.files import exists, write_atomically
from todobatch.lab.store.folder import (
    CONTROLS,
    META,
    SAMPLES,
    Run,
    open_inside,
    read_controls,
    read_meta,
    read_samples,
    unusable,
)
from todobatch.lab.store.schema import Control, RunMeta, Sample
from todobatch.units import Bytes

_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT


class RunWriter:
    """A run folder that `create_run` or `open_run` has opened, locked until it is closed."""

    def __init__(
        self,
        folder: Path,
        meta: RunMeta,
        samples: list[Sample],
        file: int,
        controls: tuple[Control, ...] = (),
    ) -> None:
        self.folder = folder
        self.meta = meta
        self.samples = samples
        self.controls = list(controls)
        self.was_torn = False
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder for another writer."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, sample: Sample) -> None:
        """Save one sample; it is on disk when this returns. Raises StoreError."""
        with _delayed_interrupt():
            try:
                _append(self._file, sample)
            except OSError as error:
                raise self._failed(error, SAMPLES) from error
            self.samples.append(sample)

    def append_control(self, control: Control) -> None:
        """Save one run of the control load; it is on disk when this returns. Raises StoreError."""
        try:
            file = open_inside(self.folder, CONTROLS, _APPENDING)
            try:
                with _delayed_interrupt():
                    _append(file, control)
                    self.controls.append(control)
            finally:
                os.close(file)
        except OSError as error:
            raise self._failed(error, CONTROLS) from error

    def update(self, **changes: Any) -> None:
        """Change fields of `run.json`, all or none of them. Raises StoreError."""
        meta = replace(self.meta, **changes)
        try:
            _write_meta(self.folder, meta)
        except OSError as error:
            raise self._failed(error, META) from error
        self.meta = meta

    def run(self) -> Run:
        """Return what has been saved so far."""
        return Run(self.meta, list(self.samples), self.folder, controls=tuple(self.controls))

    def _failed(self, error: OSError, name: str) -> StoreError:
        more = f", then resume the run with `resume={self.folder}`"
        cause = f"cannot be written ({len(self.samples)} samples are saved)"
        return unusable(self.folder / name, cause, error, more)


def refuse_existing_run(folder: Path) -> None:
    """Raise StoreError if the folder contains a run, or cannot be written.

    An empty samples.jsonl is not a run: a full disk can leave one behind.
    """
    samples = folder / SAMPLES
    if exists(folder / META) or (exists(samples) and samples.stat().st_size):
        raise StoreError(
            "this folder already contains a run",
            place=str(folder),
            remedy=f"name another folder with `output`, or resume this run with `resume={folder}`",
        )
    above = next(each for each in (folder, *folder.absolute().parents) if exists(each))
    if not os.access(above, os.W_OK | os.X_OK):
        raise StoreError(
            f"the run folder cannot be created: no permission to write {above}",
            place=str(folder),
            remedy="give yourself that permission, or name another folder with `output`",
        )


def create_run(folder: Path, meta: RunMeta) -> RunWriter:
    """Start a new run folder. Raises StoreError if it contains a run, or cannot be written."""
    refuse_existing_run(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder)
        _write_meta(folder, meta)
    except OSError as error:
        more = ", or name another folder with `output`"
        raise unusable(folder, "the run folder cannot be created", error, more) from error
    return RunWriter(folder, meta, [], file)


def open_run(folder: Path, check: Callable[[RunMeta], object] = lambda _: None) -> RunWriter:
    """Open a run folder to append to it: lock it, and remove an incomplete last line.

    `check` gets run.json before the folder is changed, and may refuse it by an error. Raises
    StoreError (no run, another writer, unreadable) and NewerSchemaError.
    """
    meta = read_meta(folder)
    check(meta)
    file = _open_locked(folder)
    try:
        samples, controls = read_samples(folder, meta), read_controls(folder)
        if samples.torn:
            os.ftruncate(file, samples.size)
            os.fsync(file)
        if controls.torn:
            _cut(folder, controls.size)
    except BaseException as error:
        os.close(file)
        if isinstance(error, OSError):
            raise unusable(folder, "an incomplete line cannot be removed", error) from error
        raise
    writer = RunWriter(folder, meta, samples.records, file, tuple(controls.records))
    writer.was_torn = samples.torn
    return writer


def _cut(folder: Path, size: Bytes) -> None:
    file = open_inside(folder, CONTROLS, os.O_RDWR)
    try:
        os.ftruncate(file, size)
    finally:
        os.close(file)


def _write_meta(folder: Path, meta: RunMeta) -> None:
    text = json.dumps(_to_json(asdict(meta)), indent=1) + "\n"
    write_atomically(folder / META, text.encode(), follow=False)


@contextmanager
def _delayed_interrupt() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the record is both in the file and in memory."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _append(file: int, record: Sample | Control) -> None:
    """Append a line, on disk when this returns. If that fails, nothing of it stays in the file."""
    line = (json.dumps(_to_json(asdict(record)), separators=(",", ":")) + "\n").encode()
    end = os.fstat(file).st_size
    if end and os.pread(file, 1, end - 1) != b"\n":  # otherwise two records share a line
        line = b"\n" + line
    try:
        while line:  # a nearly full disk accepts a part and refuses the rest
            line = line[os.write(file, line) :]
        os.fsync(file)
    except BaseException:  # a full disk, or Ctrl-C in the middle of the line
        os.ftruncate(file, end)
        raise


def _open_locked(folder: Path) -> int:
    # A buffered file would keep a failed line and write it again on close.
    file = open_inside(folder, SAMPLES, _APPENDING)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise StoreError(
            "another todobatch is writing to this run",
            place=str(folder),
            remedy="wait until it ends, or start a run in another folder with `output`",
        ) from error
    return file


def _to_json(value: Any) -> Any:
    """Replace NaN by None and tuples by lists, because JSON has neither."""
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
