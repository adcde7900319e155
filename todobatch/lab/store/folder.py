"""Read a run folder: `run.json`, `samples.jsonl` and `controls.jsonl`.

A run folder contains observations only; statistics are computed when asked for.
`todobatch.lab.store.writer` writes it. A folder can be read while it is being written.

A run folder may come from a stranger. So its files must be regular ones of a bounded size: links,
FIFOs and devices are refused.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Generic, TypeVar

from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.files import UnfitFileError, exists, is_file, is_folder, open_regular
from todobatch.ipc.decoding import from_json
from todobatch.lab.store.schema import SCHEMA, Control, RunMeta, Sample
from todobatch.lab.store.strict_json import as_json, parse
from todobatch.lab.store.validity import judged, why_inconsistent
from todobatch.units import Bytes, show_bytes

META = "run.json"
SAMPLES = "samples.jsonl"
CONTROLS = "controls.jsonl"
LARGEST: Mapping[str, Bytes] = {META: 16_000_000, SAMPLES: 1_000_000_000, CONTROLS: 64_000_000}
"""A larger file is refused."""
LONGEST_LINE: Bytes = 16_000_000
"""A file with a longer line is damaged."""
_START = b'{"schema"'
"""Every record begins with this where `todobatch.lab.store.writer` has written it."""
_REPAIR = "repair the file by hand, or copy it from a backup; todobatch has not changed it"

_Record = TypeVar("_Record", RunMeta, Sample, Control)


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
class Lines(Generic[_Record]):
    """The records of a file with one a line."""

    records: list[_Record]
    size: Bytes
    """The file's length without an incomplete last line."""
    torn: bool
    """Whether the last line is incomplete. One that only lacks its newline is complete."""


def load_run(folder: Path) -> Run:
    """Read a run folder. Raises StoreError if it has no run or is damaged, and NewerSchemaError.

    A sample that makes no sense in this run is void, with the reason.
    """
    meta = read_meta(folder)
    samples, controls = read_samples(folder, meta), read_controls(folder)
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
            meta = _record(RunMeta, file.read(), path, "")
    except FileNotFoundError as error:
        raise StoreError(
            f"this is not a run folder: it has no {META}",
            place=str(folder),
            remedy="name a folder that todobatch bench wrote",
        ) from error
    except ValueError as error:
        raise _damaged(path, f"not JSON ({error})") from error
    if why := why_inconsistent(meta):
        raise _damaged(path, why)
    return meta


def read_samples(folder: Path, meta: RunMeta) -> Lines[Sample]:
    """Read `samples.jsonl` of the run `meta`. Raises StoreError and NewerSchemaError."""
    try:
        lines = _read_lines(folder, SAMPLES, Sample)
    except FileNotFoundError as error:
        raise unusable(folder / SAMPLES, "cannot be opened", error) from error
    return Lines(judged(meta, lines.records), lines.size, lines.torn)


def read_controls(folder: Path) -> Lines[Control]:
    """Read `controls.jsonl`, which old runs do not have. Raises StoreError and NewerSchemaError."""
    try:
        return _read_lines(folder, CONTROLS, Control)
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
    except NotADirectoryError as error:
        raise no_folder(folder) from error
    except OSError as error:
        found: OSError = error
        if error.errno != errno.ELOOP and is_folder(folder / name):
            found = IsADirectoryError(errno.EISDIR, "")
        raise unusable(folder / name, "cannot be opened", found) from error


def is_part_of_run(path: Path) -> bool:
    """Return whether this is a file in a run folder, and not a run folder."""
    return path.name in LARGEST and is_file(path) and exists(path.parent / META)


def no_folder(path: Path) -> StoreError:
    """Return the error for a file that was named in place of a run folder."""
    path = next((each for each in (path, *path.parents) if is_file(each)), path)
    if is_part_of_run(path):
        cause, remedy = "this is a file in a run folder", f"name its folder: {path.parent}"
    else:
        cause, remedy = "this is a file", "name a folder that todobatch bench wrote"
    return StoreError(f"{cause}, not a run folder", place=str(path), remedy=remedy)


def unusable(path: Path, cause: str, error: OSError, more: str = "") -> StoreError:
    """Return the error for a file of a run folder that cannot be opened or written."""
    why = error.strerror
    if error.errno == errno.EISDIR:
        why, remedy = "a folder is in its place", "remove or rename it"
    elif error.errno == errno.ENOTDIR:
        remedy = "remove or rename it"
    elif isinstance(error, UnfitFileError):
        remedy = "put a regular file in its place"
    elif error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        remedy = "free disk space"
    else:
        remedy = "give yourself permission to read and write the folder"
    return StoreError(f"{cause}: {why}", place=str(path), remedy=remedy + more)


def _read_lines(folder: Path, name: str, kind: type[_Record]) -> Lines[_Record]:
    path = folder / name
    records: list[_Record] = []
    good = 0
    with open(open_inside(folder, name), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=1):
            if len(line) == LONGEST_LINE:
                raise _damaged(path, f"line {number} is longer than {show_bytes(LONGEST_LINE)}")
            try:
                records.append(_record(kind, line, path, f"line {number}: "))
            except ValueError as error:
                if _left_by_kill(line, error) and not file.peek(1):
                    break
                raise _no_record(path, number, line, error) from error
            good += len(line)
    return Lines(records, good, torn=good < size)


def _left_by_kill(line: bytes, error: ValueError) -> bool:
    """Return whether a kill or a power cut can leave this line, which is not JSON.

    A kill leaves the beginning of a record; a power cut leaves zeros in place of some of it. Both
    leave less than one record. So a line with a whole record is damage, and nothing of it is lost.
    """
    if not line.strip(b"\0 \t\r\n"):
        return True
    whole = str(error).startswith("Extra data") or line.count(_START) > 1
    if whole or b"\r" in line:
        return False
    began = line.startswith(_START) or _START.startswith(line)
    return b"\0" in line or (began and not line.endswith(b"\n"))


def _no_record(path: Path, number: int, line: bytes, error: ValueError) -> StoreError:
    if b"\r" in line.rstrip(b"\r\n"):
        return _damaged(
            path,
            f"line {number}: its records end with carriage returns (CR), not with newlines (LF)",
            "change each CR to LF (for example with tr '\\r' '\\n'), or copy the file from a "
            "backup; todobatch has not changed it",
        )
    if str(error).startswith("Extra data"):
        return _damaged(path, f"line {number}: it has more than one record, or text after a record")
    why = (
        f"{error.msg.removesuffix(' at')}, character {error.pos + 1}"
        if isinstance(error, JSONDecodeError)
        else str(error)
    )
    return _damaged(path, f"line {number}: it is not a whole JSON record ({why})")


def _record(kind: type[_Record], text: bytes, path: Path, where: str) -> _Record:
    """Read one record. Raises ValueError for text that is not JSON, else StoreError."""
    try:
        raw = parse(text)
        _check_schema(raw, path)
        return from_json(kind, raw, loose=True)
    except RecursionError as error:
        raise _damaged(path, f"{where}it is nested too deep") from error
    except UsageError as error:
        field = error.place.removeprefix(kind.__name__).lstrip(".")
        what = f"{where}{field}{': ' if field else ''}{error.cause}"
        raise _damaged(path, what.replace("`", "'")) from error


def _check_schema(raw: Any, path: Path) -> None:
    if not isinstance(raw, dict) or raw.get("schema") is None:
        raise UsageError("it has no schema version")
    found = raw["schema"]
    if type(found) is not int:
        raise UsageError(f"the schema version is {as_json(found)}, not a whole number")
    if found < 1:
        raise UsageError(f"the schema version is {found}, not 1 or more")
    if found > SCHEMA:
        raise NewerSchemaError(
            f"written in schema {found}; this todobatch reads schemas up to {SCHEMA}",
            place=str(path),
            remedy="upgrade todobatch, or use the version that wrote it",
        )


def _damaged(path: Path, what: str, remedy: str = _REPAIR) -> StoreError:
    return StoreError(f"the file is damaged: {what}", place=str(path), remedy=remedy)
