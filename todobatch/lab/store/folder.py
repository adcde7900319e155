"""Read a run folder: `run.json`, `samples.jsonl` and `controls.jsonl`.

A run folder contains observations only; statistics are computed when asked for.
`todobatch.lab.store.writer` writes it. A folder can be read while it is being written.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from todobatch.errors import NewerSchemaError, StoreError
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


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises StoreError if it has no run or is damaged, and NewerSchemaError."""
    meta = read_meta(folder)
    try:
        samples, good = read_samples(folder)
        size = (folder / SAMPLES).stat().st_size
        controls, _ = read_controls(folder)
    except OSError as error:
        raise unreadable(folder / SAMPLES, error) from error
    return Run(meta, samples, folder, torn=good < size, controls=tuple(controls))


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
        raw: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise StoreError(
            f"this is not a run folder: it has no {META}",
            place=str(folder),
            remedy="name a folder that todobatch bench wrote",
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise _damaged(path, f"not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise _damaged(path, "not a JSON object")
    _check_schema(raw, path)
    try:
        return _meta(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"a field is missing or has the wrong type ({error!r})") from error


def read_samples(folder: Path) -> tuple[list[Sample], int]:
    """Return the samples, and the file's length in bytes without an incomplete last line."""
    return _read_lines(folder / SAMPLES, _sample)


def read_controls(folder: Path) -> tuple[list[Control], int]:
    """Return the control loads, and the file's length in bytes; none without the file."""
    if not (folder / CONTROLS).exists():
        return [], 0
    return _read_lines(folder / CONTROLS, lambda raw: Control(**_known(Control, raw)))


def unreadable(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be opened."""
    return StoreError(
        f"cannot be opened: {error.strerror}",
        place=str(path),
        remedy="give yourself permission to read and write the folder",
    )


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
