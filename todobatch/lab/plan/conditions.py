"""What a run depends on: its tasks, interpreters and machine. A run is not resumed with others."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import todobatch
from todobatch.child.tasks import TaskSource
from todobatch.errors import BrokenLineError, EmptyInputError, InputError
from todobatch.files import exists, expanded, is_file, open_regular
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine
from todobatch.lab.store.schema import RunMeta
from todobatch.sources import open_source
from todobatch.units import show_count

SKIPPED_SHOWN = 10
LARGEST_INPUT = 16_000_000_000
"""A plan's file of tasks has at most this many bytes."""
MACHINE = ("cpu_model", "cpus_available", "memory_bytes")
"""Properties of the machine that must not change between sessions of a run."""


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
    if exists(path) and not is_file(path):
        raise InputError(
            "this is not a regular file, so it can be read only once; every sample reads it",
            place=str(path),
            remedy="put its content into a file and name that",
        )
    broken: list[BrokenLineError] = []
    tasks = sum(1 for _ in open_source(path, format=format, today=today).read(broken.append))
    for error in broken[:SKIPPED_SHOWN]:
        progress.warn(f"skipped: {error}")
    if len(broken) > SKIPPED_SHOWN:
        more = show_count(len(broken) - SKIPPED_SHOWN, "more broken record")
        progress.warn(f"skipped: {more}")
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
    path = expanded(source["path"])
    digest = hashlib.sha256()
    try:
        with open(open_regular(path, most=LARGEST_INPUT), "rb", buffering=0) as file:
            while piece := file.read(1 << 20):  # None, where a device has no more at present
                digest.update(piece)
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    except ValueError:  # a null byte, or half a character
        return [f"{str(path)!r} cannot be the name of a file"]
    return [] if digest.hexdigest() == source["sha256"] else [f"{path} has changed"]


def changes(meta: RunMeta, interpreters: Mapping[str, Interpreter]) -> list[str]:
    """Return what has changed since a run began: interpreters, machine, todobatch or tasks."""
    now = machine.describe()
    found = [
        f"{label}: {name} was {before.get(name)!r} and is {after!r}"
        for label, before in meta.interpreters.items()
        for name, after in publishable(interpreters[label]).items()
        if before.get(name) != after and name != "executable"  # the file's name says nothing
    ]
    found += [
        f"machine: {name} was {meta.machine.get(name)!r} and is {now[name]!r}"
        for name in MACHINE
        if meta.machine.get(name) != now[name]
    ]
    if meta.todobatch_version != todobatch.__version__:
        found.append(f"todobatch was {meta.todobatch_version} and is {todobatch.__version__}")
    return found + changes_of(meta.plan.source)


def publishable(interpreter: Interpreter) -> dict[str, Any]:
    """Return an interpreter's facts for run.json, without paths of this machine."""
    facts: dict[str, Any] = dict(interpreter.facts)
    facts["executable"] = Path(facts["executable"]).name
    facts["config_args"] = machine.without_paths(facts["config_args"])
    return facts
