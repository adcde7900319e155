"""`todobatch drill`: run every fault on every executor, and count what is lost."""

import sys
from typing import Annotated

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.job_options import Interpreter
from todobatch.cli.shared.log import start
from todobatch.cli.shared.options import WHAT, Json, LogJson, Progress, Quiet, names
from todobatch.errors import EXIT_GATE

Executors = Annotated[
    str | None,
    WHAT(
        "NAMES", "Comma-separated executors of todobatch and pools of other packages. Default: all."
    ),
]
Faults = Annotated[
    str | None,
    WHAT("NAMES", "Comma-separated faults, such as exception,segfault,sys-exit. Default: all."),
]
Peers = Annotated[bool, WHAT("--peers/--no-peers", "Also drill the pools of other packages.")]
Tasks = Annotated[int, WHAT("N", "Tasks for each pair, from 20 to 10,000.")]


def drill(
    executors: Executors = None,
    faults: Faults = None,
    peers: Peers = True,
    tasks: Tasks = 200,
    interpreter: Interpreter = None,
    as_json: Json = False,
    progress: Progress = "auto",
    quiet: Quiet = False,
    log_json: LogJson = False,
) -> None:
    """Run every fault on every executor, and count the tasks done, set aside, lost and duplicated.

    Each pair runs in its own process with a time limit. The exit code is 3 if an executor of
    todobatch does not isolate a fault that it claims to isolate.
    """
    from todobatch.cli.views import drill as view
    from todobatch.cli.views.console import Display
    from todobatch.lab.drill import drill as lab
    from todobatch.lab.interpreters import find

    log = start("drill", progress, quiet, log_json)
    chosen = find(interpreter or sys.executable)
    with Display(log) as display:
        found = lab.drill(
            chosen,
            lambda text, detail: display.step(text, detail=detail),
            executors=names(executors, "--executors"),
            faults=names(faults, "--faults"),
            peers=peers,
            tasks=tasks,
        )
    if as_json:
        echo(found.as_json())
    else:
        view.show(found)
    if found.failed:
        raise typer.Exit(EXIT_GATE)
