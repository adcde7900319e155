"""`todobatch show`: show a run as tables and verdicts."""

from pathlib import Path
from typing import Annotated

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import OTHER, Json

RunFolder = Annotated[
    Path | None,
    typer.Argument(metavar="RUN", help="A run folder. Default: the newest in results/."),
]
Workload = Annotated[str | None, OTHER("NAME", "Show this workload only.")]


def show(run: RunFolder = None, workload: Workload = None, as_json: Json = False) -> None:
    """Show what a run found: a table for each workload, which approach is fastest, and why."""
    from todobatch.cli.views import show as view
    from todobatch.lab.store.folder import load_run, newest_run

    found = load_run(newest_run(Path("results")) if run is None else run)
    if as_json:
        echo(view.as_json(found, workload=workload))
    else:
        view.show(found, workload=workload)
