"""Find the interpreters of a run, compare their builds, and ask which executors they support."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import cast

from todobatch.errors import InterpreterMissingError
from todobatch.lab.interpreters import (
    Interpreter,
    differences,
    find,
    find_all,
    worker_environment,
)
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine
from todobatch.units import Seconds

PROBE_TIMEOUT_S: Seconds = 60.0


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
