"""Decide what of a run folder may be executed, because a folder can come from a stranger.

Built-in workloads may, and the interpreters that `discovery` finds on this machine. Anything else
is executed only if the user trusts the folder. Nothing is run to decide this.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from todobatch.errors import UsageError
from todobatch.files import expanded
from todobatch.lab.interpreters.discovery import own_executables
from todobatch.lab.interpreters.specs import is_path
from todobatch.lab.store.schema import Plan
from todobatch.processors import WORKLOADS

MOST_SHOWN = 5
"""An error names this many workloads and interpreters at most."""
LONGEST_NAME = 100
"""An error shows this many characters of a name at most."""


def executables(
    folder: Path, plan: Plan, labels: Iterable[str] = (), *, trust: bool = False
) -> Mapping[str, str]:
    """Return what to run for each interpreter of a plan: a version, or the path of an executable.

    `folder` has the plan, and `labels` are further interpreters of the run. Without `trust`, a path
    is replaced by the interpreter of this machine that it leads to. Raises UsageError if the plan
    would execute anything else.
    """
    if not plan.cells:
        raise UsageError(
            "its plan has no cell, so there is nothing to measure",
            place=str(folder),
            remedy="name another run",
        )
    chosen = _labels(plan, labels)
    if trust:
        return {label: str(expanded(label)) for label in chosen}
    if found := strangers(plan, labels):
        named = ", ".join(found[:MOST_SHOWN])
        more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
        raise UsageError(
            f"this run would execute {named}{more}. A run folder can come from a stranger, so only "
            "built-in workloads and interpreters found on this machine are run unasked",
            place=str(folder),
            remedy="if the run is your own, or you trust who made it, add `trust=True`",
        )
    own = _own_interpreters(chosen)
    return {label: own.get(label, label) for label in chosen}


def strangers(plan: Plan, labels: Iterable[str] = ()) -> list[str]:
    """Return the workloads and interpreters of a plan that need trust, escaped for display."""
    chosen = _labels(plan, labels)
    own = _own_interpreters(chosen)
    workloads = dict.fromkeys(
        [*(x.workload for x in plan.cells), *(x.workload for x in plan.shapes)]
    )
    return [
        *(f"workload {_shown(each)}" for each in workloads if each not in WORKLOADS),
        *(f"interpreter {_shown(each)}" for each in chosen if is_path(each) and each not in own),
    ]


def _labels(plan: Plan, labels: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*labels, *(cell.interpreter for cell in plan.cells)]))


def _own_interpreters(labels: Iterable[str]) -> dict[str, str]:
    """Return for each path that leads to an interpreter of this machine that interpreter's path."""
    paths = [label for label in labels if is_path(label)]
    own = {_place(each): str(each) for each in own_executables()} if paths else {}
    # The path itself is not run if it is a link: what lies beside it, such as pyvenv.cfg, would
    # decide which modules that interpreter loads.
    real = {os.path.realpath(each): each for each in reversed(own.values())} | own
    found = {label: own.get(_place(label)) or real.get(_real(label)) for label in paths}
    return {label: executable for label, executable in found.items() if executable is not None}


def _place(path: Path | str) -> str:
    """Return a path without links in its folder; the last part may be a link."""
    whole = expanded(path)
    return f"{_real(whole.parent)}/{whole.name}"


def _real(path: Path | str) -> str:
    try:
        return os.path.realpath(expanded(path))
    except ValueError:  # it contains a null byte
        return str(path)


def _shown(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"
