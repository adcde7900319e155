"""Read a run folder: `run.json`, `samples.jsonl` and `controls.jsonl`.

A run folder contains observations only; statistics are computed when asked for.
`todobatch.lab.store.writer` writes it. A folder can be read while it is being written.

A run folder may come from a stranger. So its files must be regular ones of a bounded size: links,
FIFOs and devices are refused.
"""

import errno
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from todobatch.errors import NewerSchemaError, StoreError
from todobatch.files import UnfitFileError, open_regular
from todobatch.lab.store.schema import (
    SCHEMA,
    Cell,
    Control,
    Plan,
    RunMeta,
    Sample,
    WorkloadShape,
)
from todobatch.units import Bytes, show_bytes

META = "run.json"
SAMPLES = "samples.jsonl"
CONTROLS = "controls.jsonl"
LARGEST: Mapping[str, Bytes] = {META: 16_000_000, SAMPLES: 1_000_000_000, CONTROLS: 64_000_000}
"""A larger file is refused."""
LONGEST_LINE: Bytes = 16_000_000
"""A file with a longer line is damaged."""

_SECONDS = ("wall_s", "cpu_s", "pool_start_s", "process_s", "load_1m")
"""Fields of a sample that are null in the file when they were not measured."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Run:
    """The contents of a run folder: the plan, the machine, and every sample, voids included."""

    meta: RunMeta
    samples: list[Sample]
    folder: Path | None = None
    torn: bool = False
    """Whether the last line of samples.jsonl is incomplete; it is left out of `samples`."""
    controls: tuple[Control, ...] = ()
    """The control loads around each block; runs of older versions have none."""


@dataclass(frozen=True, slots=True)
class Lines(Generic[_T]):
    """The records of a file with one a line."""

    records: list[_T]
    size: Bytes
    """The file's length without an incomplete last line."""
    torn: bool
    """Whether the last line is incomplete."""


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises StoreError if it has no run or is damaged, and NewerSchemaError."""
    meta = read_meta(folder)
    samples, controls = read_samples(folder), read_controls(folder)
    return Run(meta, samples.records, folder, torn=samples.torn, controls=tuple(controls.records))


def newest_run(results: Path) -> Path:
    """Return the run folder in `results` that was started or resumed last. Raises StoreError."""
    found, errors = [], []
    for path in results.glob(f"*/{META}"):
        try:
            meta = read_meta(path.parent)
        except StoreError as error:
            errors.append(error)
        else:
            found.append((max((meta.started, *meta.resumed)), path.parent))
    if not found and errors:
        raise errors[0]
    if not found:
        raise StoreError(
            "this folder contains no run",
            place=str(results),
            remedy="make a run with: todobatch bench; or name a run folder",
        )
    return max(found)[1]


def read_meta(folder: Path) -> RunMeta:
    """Read `run.json`. Raises StoreError and NewerSchemaError."""
    path = folder / META
    try:
        with open(open_inside(folder, META), "rb") as file:
            raw: Any = json.load(file)
    except FileNotFoundError as error:
        raise StoreError(
            f"this is not a run folder: it has no {META}",
            place=str(folder),
            remedy="name a folder that todobatch bench wrote",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _damaged(path, "not a JSON object")
    _check_schema(raw, path)
    try:
        return _meta(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"a field is missing or has the wrong type ({error!r})") from error


def read_samples(folder: Path) -> Lines[Sample]:
    """Read `samples.jsonl`. Raises StoreError and NewerSchemaError."""
    try:
        return _read_lines(folder, SAMPLES, _sample)
    except FileNotFoundError as error:
        raise unusable(folder / SAMPLES, "cannot be opened", error) from error


def read_controls(folder: Path) -> Lines[Control]:
    """Read `controls.jsonl`, which old runs do not have. Raises StoreError and NewerSchemaError."""
    try:
        return _read_lines(folder, CONTROLS, lambda raw: Control(**_known(Control, raw)))
    except FileNotFoundError:
        return Lines([], 0, torn=False)


def open_inside(folder: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """Open a file of a run folder and return its descriptor. No link is followed.

    Raises FileNotFoundError when there is none, and StoreError when it cannot be opened.
    """
    try:
        return open_regular(folder / name, flags, most=LARGEST[name], follow=False)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unusable(folder / name, "cannot be opened", error) from error


def unusable(path: Path, cause: str, error: OSError, more: str = "") -> StoreError:
    """Return the error for a file of a run folder that cannot be opened or written."""
    if isinstance(error, UnfitFileError):
        remedy = "put a regular file in its place"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        remedy = "free disk space"
    else:
        remedy = "give yourself permission to read and write the folder"
    return StoreError(f"{cause}: {error.strerror}", place=str(path), remedy=remedy + more)


def _read_lines(folder: Path, name: str, make: Callable[[dict[str, Any]], _T]) -> Lines[_T]:
    path = folder / name
    records: list[_T] = []
    good = 0
    with open(open_inside(folder, name), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            if len(line) == LONGEST_LINE:
                raise _damaged(path, f"line {number} is longer than {show_bytes(LONGEST_LINE)}")
            try:
                if not line.endswith(b"\n"):
                    break
                raw = json.loads(line)
                _check_schema(raw, path)
                records.append(make(raw))
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                if not file.peek(1):  # a power cut can leave a line without its content
                    break
                raise _damaged(path, f"line {number}: {error!r}") from error
            good += len(line)
    return Lines(records, good, torn=good < size)


def _check_schema(raw: Mapping[str, Any], path: Path) -> None:
    found = raw["schema"] if isinstance(raw.get("schema"), int) else 0
    if found > SCHEMA:
        raise NewerSchemaError(
            f"written in schema {found}; this todobatch reads schemas up to {SCHEMA}",
            place=str(path),
            remedy="upgrade todobatch, or use the version that wrote it",
        )
    if found < 1:
        raise _damaged(path, "it has no schema version")


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


def _known(kind: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that this version knows, because a later one may have added some."""
    names = {f.name for f in fields(kind)}
    return {name: value for name, value in raw.items() if name in names}


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the file is damaged: {what}",
        place=str(path),
        remedy="repair the file by hand, or copy it from a backup; todobatch has not changed it",
    )
