"""`todobatch report`: a run folder as a site of plain files."""

from pathlib import Path
from typing import Annotated

import typer

from todobatch.errors import ExtraMissingError


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The site's folder; an older site is replaced.")
    ] = Path("site"),
    docs: Annotated[
        Path | None,
        typer.Option(help="Hand-written pages to put in, with a mkdocs.yml beside the folder."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A broken link in the pages of --docs is an error.")
    ] = False,
) -> None:
    """Build a site from a run: verdict, scaling, production readiness, method and data."""
    try:
        from todobatch_reports import site
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            f"the report needs {error.name}, which is not installed",
            place="todobatch report",
            remedy="install its extras; in a checkout: pip install '.[lab,reports]' ./reports",
        ) from error
    index = site.build(run, output, docs=docs, strict=strict or docs is None)
    typer.echo(index)
