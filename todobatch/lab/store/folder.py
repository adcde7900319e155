"""The run folder: `run.json`, `samples.jsonl` and `controls.jsonl`; nothing that could be computed.

What upholds "nothing saved is lost":

* `run.json` is written beside itself, flushed to disk and renamed into place;
* a sample is one line, appended and on disk before `Store.append` returns; when that fails, the
  file is cut back to its last whole line;
* one writer at a time: the open `samples.jsonl` is locked (flock(2)), and the kernel drops the
  lock of a killed process;
* a last line torn by a kill or a power cut is left out by `load` and cut off by `open_run`.
"""

import errno
import fcntl
import json
import math
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from todobatch.errors import NewerSchemaError, StoreError
from todobatch.files import write_atomically
from todobatch.lab.store.schema import (
    SCHEMA,
    Cell,
    Control,
    Plan,
    RunMeta,
    Sample,
    WorkloadShape,
)

META = "run.json"
SAMPLES = "samples.jsonl"
CONTROLS = "controls.jsonl"

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder read back: what was planned, on what, and every sample taken, voids included."""

    meta: RunMeta
    samples: list[Sample]
    folder: Path | None = None
    torn: bool = False
    """Whether the last line of samples.jsonl was cut off in the middle; it is left out here."""
    controls: tuple[Control, ...] = ()
    """How fast the machine was around each block; runs of older versions have none."""


class Store:
    """A run folder that is being written, and locked until closed. Use in a ``with`` statement."""

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
        """Give the folder free for another writer."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def append(self, sample: Sample) -> None:
        """Save one sample; it is on disk when this returns. Raises StoreError."""
        with _interrupt_later():
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
                with _interrupt_later():
                    _append(file, control)
                    self.controls.append(control)
            finally:
                os.close(file)
        except OSError as error:
            raise self._failed(error, CONTROLS) from error

    def update(self, **changes: Any) -> None:
        """Change fields of `run.json`, all or nothing. Raises StoreError."""
        meta = replace(self.meta, **changes)
        try:
            write_atomically(self.folder / META, dump_meta(meta))
        except OSError as error:
            raise self._failed(error, META) from error
        self.meta = meta

    def run(self) -> Run:
        """What has been saved so far."""
        return Run(self.meta, list(self.samples), self.folder, controls=tuple(self.controls))

    def _failed(self, error: OSError, name: str) -> StoreError:
        return StoreError(
            f"cannot be written: {error.strerror}; the {len(self.samples)} samples taken are saved",
            place=str(self.folder / name),
            remedy=f"{_remedy(error)}, then go on with: todobatch bench --resume {self.folder}",
        )


def refuse_existing(folder: Path) -> None:
    """Raises StoreError where a run is already; an empty samples.jsonl is what a full disk left."""
    samples = folder / SAMPLES
    if (folder / META).exists() or (samples.exists() and samples.stat().st_size):
        raise StoreError(
            "there is a run here already",
            place=str(folder),
            remedy=f"name another folder with -o, or go on with this one: --resume {folder}",
        )


def create(folder: Path, meta: RunMeta) -> Store:
    """Begin a new run folder. Raises StoreError where one is already, or it cannot be written."""
    refuse_existing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder)
        write_atomically(folder / META, dump_meta(meta))
    except OSError as error:
        raise StoreError(
            f"a run cannot be begun: {error.strerror}",
            place=str(folder),
            remedy=f"{_remedy(error)}, or name another folder with -o",
        ) from error
    return Store(folder, meta, [], file)


def open_run(folder: Path) -> Store:
    """Open a run folder to add to it: locks it, and cuts off a torn last line.

    Raises StoreError (no run, another writer, unreadable) and NewerSchemaError.
    """
    meta = _load_meta(folder)
    try:
        file = _open_locked(folder)
        samples, good = _read_samples(folder)
        torn = good < os.fstat(file).st_size
        if torn:
            os.ftruncate(file, good)
            os.fsync(file)
        controls, good = _read_controls(folder)
        if (folder / CONTROLS).exists():
            os.truncate(folder / CONTROLS, good)
    except OSError as error:
        raise _unreadable(folder / SAMPLES, error) from error
    store = Store(folder, meta, samples, file, tuple(controls))
    store.was_torn = torn
    return store


def load(folder: Path) -> Run:
    """Read a run folder, also while it is being written. Raises StoreError, NewerSchemaError."""
    meta = _load_meta(folder)
    try:
        samples, good = _read_samples(folder)
        size = (folder / SAMPLES).stat().st_size
        controls, _ = _read_controls(folder)
    except OSError as error:
        raise _unreadable(folder / SAMPLES, error) from error
    return Run(meta, samples, folder, torn=good < size, controls=tuple(controls))


def newest(results: Path) -> Path:
    """The run folder in `results` that was begun or resumed last, of those that can be read.

    Raises StoreError when there is none.
    """
    begun, unreadable = [], []
    for path in results.glob(f"*/{META}"):
        try:
            meta = _load_meta(path.parent)
        except StoreError as error:
            unreadable.append(error)
        else:
            begun.append((max((meta.started, *meta.resumed)), path.parent))
    if not begun and unreadable:
        raise unreadable[0]
    if not begun:
        raise StoreError(
            "there is no run here",
            place=str(results),
            remedy="make one with: todobatch bench --quick, or name a run folder",
        )
    return max(begun)[1]


def dump_meta(meta: RunMeta) -> bytes:
    """The bytes of `run.json`."""
    return (json.dumps(_to_json(asdict(meta)), indent=1) + "\n").encode()


_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Ctrl-C waits until what is in the file is in memory too: what was taken is kept."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _append(file: int, record: Sample | Control) -> None:
    """Add a line, on disk when this returns; whatever prevents that leaves none of it behind."""
    line = (json.dumps(_to_json(asdict(record)), separators=(",", ":")) + "\n").encode()
    end = os.fstat(file).st_size
    try:
        while line:  # a nearly full disk takes a part and refuses the rest
            line = line[os.write(file, line) :]
        os.fsync(file)
    except BaseException:  # a full disk, or Ctrl-C in the middle: half a line helps nobody
        os.ftruncate(file, end)
        raise


def _open_locked(folder: Path) -> int:
    # A bare descriptor: a buffered file would keep a failed line and write it again on close.
    file = os.open(folder / SAMPLES, _APPENDING, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise StoreError(
            "another todobatch is writing to this run",
            place=str(folder),
            remedy="wait until it ends, or begin another run with -o",
        ) from error
    return file


def _load_meta(folder: Path) -> RunMeta:
    path = folder / META
    try:
        raw: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            f"this is no run folder: it has no {META}",
            place=str(folder),
            remedy="name a folder that todobatch bench wrote",
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:
        raise _damaged(path, f"not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _damaged(path, "not a JSON object")
    _check_schema(raw, path)
    try:
        return _meta(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"a field is missing or of the wrong kind ({error!r})") from error


def _read_samples(folder: Path) -> tuple[list[Sample], int]:
    """The samples and the length in bytes of the whole lines; a torn last line is left out."""
    return _read_lines(folder / SAMPLES, _sample)


def _read_controls(folder: Path) -> tuple[list[Control], int]:
    """The same of the control loads; a run that was taken before there were any has none."""
    if not (folder / CONTROLS).exists():
        return [], 0
    return _read_lines(folder / CONTROLS, lambda raw: Control(**_known(Control, raw)))


def _read_lines(path: Path, make: Callable[[dict[str, Any]], _T]) -> tuple[list[_T], int]:
    data = path.read_bytes()
    records = []
    good = 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        last = good + len(line) == len(data)
        try:
            if not line.endswith(b"\n"):
                break
            raw = json.loads(line)
            _check_schema(raw, path)
            records.append(make(raw))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if last:  # a power cut can leave a line of the right length without its content
                break
            raise _damaged(path, f"line {number}: {error!r}") from error
        good += len(line)
    return records, good


def _check_schema(raw: Mapping[str, Any], path: Path) -> None:
    found = raw["schema"] if isinstance(raw.get("schema"), int) else 0
    if found > SCHEMA:
        raise NewerSchemaError(
            f"written in schema {found}; this todobatch knows schemas up to {SCHEMA}",
            place=str(path),
            remedy="upgrade todobatch, or use the one that wrote it",
        )
    if found < 1:
        raise _damaged(path, "it names no schema version")


def _meta(raw: Mapping[str, Any]) -> RunMeta:
    plan = dict(raw["plan"])
    plan["cells"] = tuple(Cell(**_known(Cell, cell)) for cell in plan["cells"])
    plan["shapes"] = tuple(
        WorkloadShape(**_known(WorkloadShape, shape)) for shape in plan["shapes"]
    )
    plan["left_out"] = tuple((what, why) for what, why in plan.get("left_out", ()))
    values = _known(RunMeta, raw)
    return RunMeta(
        **{**values, "plan": Plan(**_known(Plan, plan)), "resumed": tuple(raw.get("resumed", ()))}
    )


def _sample(raw: Mapping[str, Any]) -> Sample:
    values = _known(Sample, raw)
    for name in _SECONDS:
        values[name] = math.nan if values[name] is None else float(values[name])
    return Sample(**values)


_SECONDS = ("wall_s", "cpu_s", "pool_start_s", "process_s", "load_1m")


def _known(kind: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that this version knows: a later one of the same schema may have added some."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in raw.items() if name in names}


def _to_json(value: Any) -> Any:
    """Not-a-number becomes null, which JSON has; tuples become lists."""
    if isinstance(value, dict):
        return {key: _to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"damaged: {what}",
        place=str(path),
        remedy="repair it by hand or from a copy; todobatch changes nothing in a damaged file",
    )


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot be opened: {error.strerror}",
        place=str(path),
        remedy="make the folder readable and writable for you",
    )


def _remedy(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "make room on that disk"
    return "make the folder writable"
