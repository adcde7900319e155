"""Write a run folder so that no saved sample is lost.

* `run.json` is replaced as a whole (`todobatch.files.write_atomically`).
* Each sample is one line, on disk before `RunWriter.append` returns. If the write fails, the file
  is truncated to its last whole line.
* There is one writer at a time: the open `samples.jsonl` is locked (flock(2)). The kernel releases
  the lock of a killed process.
* `load_run` leaves out a last line that a kill or a power cut left incomplete; `open_run` removes
  it.
"""

import errno
import fcntl
import json
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

from todobatch.errors import StoreError
from todobatch.files import write_atomically
from todobatch.lab.store.folder import (
    CONTROLS,
    META,
    SAMPLES,
    Run,
    read_controls,
    read_meta,
    read_samples,
    unreadable,
)
from todobatch.lab.store.schema import Control, RunMeta, Sample

_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


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
            file = os.open(self.folder / CONTROLS, _APPENDING, 0o666)
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
        return StoreError(
            f"cannot be written: {error.strerror}; {len(self.samples)} samples are saved",
            place=str(self.folder / name),
            remedy=f"{_remedy(error)}, then resume the run with `resume={self.folder}`",
        )


def refuse_existing_run(folder: Path) -> None:
    """Raise StoreError if the folder contains a run.

    An empty samples.jsonl is not a run: a full disk can leave one behind.
    """
    samples = folder / SAMPLES
    if (folder / META).exists() or (samples.exists() and samples.stat().st_size):
        raise StoreError(
            "this folder already contains a run",
            place=str(folder),
            remedy=f"name another folder with `output`, or resume this run with `resume={folder}`",
        )


def create_run(folder: Path, meta: RunMeta) -> RunWriter:
    """Start a new run folder. Raises StoreError if it contains a run, or cannot be written."""
    refuse_existing_run(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder)
        _write_meta(folder, meta)
    except OSError as error:
        raise StoreError(
            f"the run folder cannot be created: {error.strerror}",
            place=str(folder),
            remedy=f"{_remedy(error)}, or name another folder with `output`",
        ) from error
    return RunWriter(folder, meta, [], file)


def open_run(folder: Path) -> RunWriter:
    """Open a run folder to append to it: lock it, and remove an incomplete last line.

    Raises StoreError (no run, another writer, unreadable) and NewerSchemaError.
    """
    meta = read_meta(folder)
    try:
        file = _open_locked(folder)
        samples, good = read_samples(folder)
        torn = good < os.fstat(file).st_size
        if torn:
            os.ftruncate(file, good)
            os.fsync(file)
        controls, good = read_controls(folder)
        if (folder / CONTROLS).exists():
            os.truncate(folder / CONTROLS, good)
    except OSError as error:
        raise unreadable(folder / SAMPLES, error) from error
    writer = RunWriter(folder, meta, samples, file, tuple(controls))
    writer.was_torn = torn
    return writer


def _write_meta(folder: Path, meta: RunMeta) -> None:
    text = json.dumps(_to_json(asdict(meta)), indent=1) + "\n"
    write_atomically(folder / META, text.encode())


@contextmanager
def _delayed_interrupt() -> Iterator[None]:
    """Delay Ctrl-C until the record is both in the file and in memory."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _append(file: int, record: Sample | Control) -> None:
    """Append a line, on disk when this returns. If that fails, nothing of it stays in the file."""
    line = (json.dumps(_to_json(asdict(record)), separators=(",", ":")) + "\n").encode()
    end = os.fstat(file).st_size
    try:
        while line:  # a nearly full disk accepts a part and refuses the rest
            line = line[os.write(file, line) :]
        os.fsync(file)
    except BaseException:  # a full disk, or Ctrl-C in the middle of the line
        os.ftruncate(file, end)
        raise


def _open_locked(folder: Path) -> int:
    # A buffered file would keep a failed line and write it again on close.
    file = os.open(folder / SAMPLES, _APPENDING, 0o666)
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


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "free disk space"
    return "make the folder writable"
