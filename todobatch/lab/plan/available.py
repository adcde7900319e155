"""Find the interpreters of a run, and ask each which executors and workloads it can run.

The controller never imports a user's workload: only the measured interpreter may have the packages
that it needs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, cast

from todobatch.child.tasks import TaskSource
from todobatch.errors import InterpreterMissingError, UsageError
from todobatch.ipc.child_process import ChildProcess, last_lines
from todobatch.lab.interpreters import (
    Interpreter,
    differences,
    find,
    find_all,
    worker_environment,
)
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.plan.alone import run_command
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine
from todobatch.lab.store.schema import Cell
from todobatch.processors import WORKLOADS
from todobatch.units import Seconds

PROBE_TIMEOUT_S: Seconds = 60.0
END_TIMEOUT_S: Seconds = 5.0

Unloadable: TypeAlias = Mapping[tuple[str, str], str]
"""Why a workload cannot be loaded, by the names of the workload and the interpreter."""


def labelled(specs: Iterable[str]) -> dict[str, str]:
    """Return each spec by the name that a run folder gives it."""
    return {machine.portable(Path(spec)) if "/" in spec else spec: spec for spec in specs}


def find_interpreters(asked: Mapping[str, str], progress: Progress) -> dict[str, Interpreter]:
    """Return the interpreter of each spec in `asked`, by the same names.

    Builds are alike if possible; differences are reported to `progress`. Raises
    InterpreterMissingError for the first missing interpreter, and reports further ones.
    """
    try:
        found = dict(zip(asked, find_all(list(asked.values())), strict=True))
    except InterpreterMissingError as raised:
        for spec in asked.values():
            try:
                find(spec)
            except InterpreterMissingError as error:
                if str(error) != str(raised):
                    progress.warn(f"also missing: {error}")
        raise
    first, *others = found.values()
    for other in others:
        for difference in differences(first, other):
            progress.warn(f"{first.spec} and {other.spec} are built differently: {difference}")
    return found


def availability(interpreter: Interpreter) -> dict[str, str | None]:
    """Ask an interpreter for each executor: None, or the reason why it cannot work there.

    Raises InterpreterMissingError when the interpreter cannot run todobatch.
    """
    code = (
        "import json, todobatch.executors as e;"
        "print(json.dumps({name: each.available() for name, each in e.EXECUTORS.items()}))"
    )
    command = [str(interpreter.executable), "-P", "-c", code]
    status, answer, printed = run_bounded(
        command, PROBE_TIMEOUT_S, env=worker_environment(interpreter)
    )
    if status == 0:
        return cast(dict[str, str | None], json.loads(answer.strip().rpartition("\n")[2]))
    raise InterpreterMissingError(
        f"it cannot run todobatch: {''.join(printed.strip().splitlines()[-1:])}",
        place=f"interpreter {interpreter.spec}",
        remedy="todobatch needs Python 3.11 or later; name another one in `interpreters`",
    )


def why_not_loaded(interpreter: Interpreter, cell: Cell, source: TaskSource) -> UsageError | None:
    """Return an error that says why an interpreter cannot load a cell's workload; None if it can.

    A process of that interpreter tries to load it, for up to `PROBE_TIMEOUT_S`. The error's remedy
    has a command that runs the workload by itself on that interpreter.
    """
    if cell.workload in WORKLOADS:
        return None
    command = [interpreter.executable, "-P", "-m", "todobatch.child.workload"]
    remedy = ""
    with ChildProcess.start(command, worker_environment(interpreter)) as child:
        child.send(cell.workload)
        try:
            answer = child.next_event(PROBE_TIMEOUT_S)
        except TimeoutError:
            cause = f"{cell.workload} was not loaded within {PROBE_TIMEOUT_S:.0f} s"
        else:
            if answer is None:
                child.wait(END_TIMEOUT_S)
                printed = last_lines(child.printed)
                cause = f"the process that loaded {cell.workload} {child.how_it_ended()}"
                cause += f": {printed}" if printed else ""
            elif answer["event"] == "loaded":
                return None
            else:
                cause, remedy = answer["cause"], f"{answer['remedy']}; "
    alone = replace(cell, executor="sequential", workers=1)
    return UsageError(
        cause,
        place=f"interpreter {interpreter.spec}",
        remedy=f"{remedy}to try it alone: {run_command(alone, source)}",
    )


def unloadable(
    workloads: Sequence[str], interpreters: Mapping[str, Interpreter], source: TaskSource
) -> Unloadable:
    """Return which workloads cannot be loaded by which interpreters, and why.

    Raises UsageError for a workload that no interpreter can load.
    """
    found: dict[tuple[str, str], str] = {}
    for workload in dict.fromkeys(workloads):
        errors = {}
        for label, interpreter in interpreters.items():
            cell = Cell(workload, label, "sequential", 1)
            if error := why_not_loaded(interpreter, cell, source):
                errors[label] = error
        if len(errors) == len(interpreters):
            raise next(iter(errors.values()))
        found |= {(workload, label): error.cause for label, error in errors.items()}
    return found
