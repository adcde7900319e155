"""The tasks of a run: read once before anything is measured, and compared when it is resumed."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from todobatch.child.tasks import TaskSource, count
from todobatch.errors import BrokenLineError, EmptyInputError, InputError
from todobatch.files import open_regular
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine
from todobatch.sources import open_source

SKIPPED_SHOWN = 10


def inspect_file(
    path: Path,
    format: str | None,  # noqa: A002 - as `open_source` names it
    today: dt.date,
    progress: Progress,
) -> TaskSource:
    """Read a file of tasks once and return its description for `Plan.source`.

    Broken records are reported to `progress` and left out of the samples. Raises InputError for a
    file that cannot be read, and EmptyInputError for one without a task.
    """
    if path.exists() and not path.is_file():
        raise InputError(
            "this is not a regular file, so it can be read only once; every sample reads it",
            place=str(path),
            remedy="put its content into a file and name that",
        )
    broken: list[BrokenLineError] = []
    tasks = count(open_source(path, format=format, today=today).read(broken.append))
    for error in broken[:SKIPPED_SHOWN]:
        progress.message(f"skipped: {error}")
    if len(broken) > SKIPPED_SHOWN:
        progress.message(f"skipped: {len(broken) - SKIPPED_SHOWN} more broken records")
    if not tasks:
        raise EmptyInputError(
            "the file contains no task",
            place=str(path),
            remedy="name a file with at least one task, or leave out `input_file`",
        )
    return {
        "kind": "file",
        "path": machine.portable(path),
        "format": format,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tasks": tasks,
        "broken": len(broken),
    }


def changes_of(source: Mapping[str, Any]) -> list[str]:
    """Return the changes of the file of a plan's `source`; none for generated tasks."""
    if source.get("kind") != "file":
        return []
    path = Path(source["path"]).expanduser()
    try:
        with open(open_regular(path), "rb") as file:
            now = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    return [] if now == source["sha256"] else [f"{path} has changed"]
