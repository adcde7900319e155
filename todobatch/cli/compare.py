"""`todobatch compare`: what became slower from one run to another, and a gate for CI."""

import re
from pathlib import Path
from typing import Annotated

import typer

from todobatch.cli.shares import share_of
from todobatch.errors import EXIT_GATE, UsageError

FORMATS = ("text", "markdown", "json")


def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="The baseline: a run folder or a pyperf file.")
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="The new one, of the same kind.")],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")
    ] = "text",
    all_: Annotated[
        bool, typer.Option("--all", help="List the cells without a difference too.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare although machines or workloads differ.")
    ] = False,
    fail_on_slower: Annotated[
        str | None,
        typer.Option(
            metavar="LIMIT",
            help="Exit with 3 if a cell is surely slower by more than that, such as 3%.",
            show_default=False,
        ),
    ] = None,
    fail_on_efficiency_drop: Annotated[
        str | None,
        typer.Option(
            metavar="LIMIT[@WORKERS]",
            help="The same if its efficiency surely fell by more; 3%@4: with 4 workers only.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare two runs cell by cell: how much slower or faster, and how sure that is.

    Runs of different machines, interpreters or workloads are refused, unless forced.
    """
    if format_ not in FORMATS:
        raise UsageError(
            f"unknown format {format_!r}", place="--format", remedy=f"one of {', '.join(FORMATS)}"
        )
    slower = None if fail_on_slower is None else share_of(fail_on_slower, "--fail-on-slower")
    drop = None if fail_on_efficiency_drop is None else _drop(fail_on_efficiency_drop)

    from todobatch.cli.views import compare as view
    from todobatch.lab.compare.compare import compare as compare_runs
    from todobatch.lab.compare.gates import gate_on_efficiency, gate_on_slower
    from todobatch.lab.compare.inputs import read_measurements

    outcome = compare_runs(read_measurements(a), read_measurements(b), force=force)
    gates = []
    if slower is not None:
        gates.append(gate_on_slower(outcome, slower, f"--fail-on-slower {fail_on_slower}"))
    if drop is not None:
        option = f"--fail-on-efficiency-drop {fail_on_efficiency_drop}"
        gates.append(gate_on_efficiency(outcome, *drop, option))
    if format_ == "json":
        typer.echo(view.as_json(outcome, gates))
    else:
        show = view.as_markdown if format_ == "markdown" else view.as_text
        typer.echo(show(outcome, gates, unfold=all_))
    failed = [gate for gate in gates if gate.failed]
    if format_ != "text":  # where the document goes to a file, the log says it too
        for gate in failed:
            typer.echo(f"todobatch: {view.sentence(gate)}", err=True)
    if failed:
        raise typer.Exit(EXIT_GATE)


def _drop(text: str) -> tuple[float, int | None]:
    """``'3%@4'`` or ``'3%'``: by how much, and at how many workers. Raises UsageError."""
    option = "--fail-on-efficiency-drop"
    share, at, workers = text.partition("@")
    limit = share_of(share, option)
    if limit >= 1:
        raise UsageError(
            f"{text!r}: nothing can fall by all of it", place=option, remedy="write less than 100%"
        )
    if not at:
        return limit, None
    if not re.fullmatch(r"\s*\d{1,6}\s*", workers, re.ASCII) or int(workers) < 2:
        raise UsageError(
            f"{workers!r} is no number of workers",
            place=option,
            remedy="2 or more after the @, such as 3%@4",
        )
    return limit, int(workers)
