"""`todobatch drill`: break every executor in every way, and count what is lost."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from todobatch.errors import EXIT_GATE, UsageError

if TYPE_CHECKING:
    from todobatch.lab.drill.drill import OnProgress


def drill(
    executors: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, peers too, and only those. Default: all of todobatch's own, "
            "and the peers.",
            show_default=False,
        ),
    ] = None,
    faults: Annotated[
        str | None, typer.Option(help="Comma-separated. Default: all.", show_default=False)
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Put other people's pools beside ours.")
    ] = True,
    tasks: Annotated[int, typer.Option(metavar="N", help="Tasks for each pair.")] = 200,
    interpreter: Annotated[
        str | None,
        typer.Option(help="3.14, 3.14t, … or a path. Default: the one todobatch runs on."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run every fault against every executor, and count: done, set aside, lost, done twice.

    Each pair has a process of its own under a time limit, so that one that hangs is a row like any
    other. Exit code 3 when an executor says that it isolates a fault and this run shows otherwise.
    """
    from todobatch.lab.drill import drill as lab_drill
    from todobatch.lab.interpreters import find

    chosen = find(interpreter or sys.executable)
    with _telling() as tell:
        found = lab_drill.drill(
            chosen,
            tell,
            executors=_names(executors, "--executors"),
            faults=_names(faults, "--faults"),
            peers=peers,
            tasks=tasks,
        )
    if json_:
        typer.echo(found.as_json())
    else:
        from todobatch.cli.views import drill as drill_show

        drill_show.show(found)
    if found.failed:
        raise typer.Exit(EXIT_GATE)


def _names(text: str | None, option: str) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("it names nothing", place=option, remedy="names with commas between them")
    return names


@contextmanager
def _telling() -> "Iterator[OnProgress]":
    """Progress on standard error: on a terminal one line that changes."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False, markup=False, highlight=False)
    if not console.is_terminal:
        told: list[str] = []

        def line(executor: str, how_far: str) -> None:
            if executor not in told:
                told.append(executor)
                print(f"{executor}  {how_far}", file=sys.stderr, flush=True)

        yield line
        return
    with console.status("", refresh_per_second=4) as status:
        yield lambda executor, how_far: status.update(f"{executor}  {how_far}")
