"""Detect changes since a run was begun; such a run is not resumed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import todobatch
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.plan.source import changes_of
from todobatch.lab.store import machine
from todobatch.lab.store.schema import RunMeta

MACHINE = ("cpu_model", "cpus_available", "memory_bytes")
"""Properties of the machine that must not change between sessions of a run."""


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
