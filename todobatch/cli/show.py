"""`todobatch show`: a run folder as a table and a verdict."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run folder; the newest in results/ when left out.",
            show_default=False,
        ),
    ] = None,
    workload: Annotated[
        str | None, typer.Option(help="Show this workload only.", show_default=False)
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print one JSON document instead of tables.")
    ] = False,
) -> None:
    """Show what a run found: the table, and which approach is fastest and why."""
    from todobatch.cli.views import show as lab_show
    from todobatch.lab.store.folder import load_run, newest_run

    found = load_run(newest_run(Path("results")) if run is None else run)
    if json_:
        typer.echo(lab_show.as_json(found, workload=workload))
    else:
        lab_show.show(found, workload=workload)
