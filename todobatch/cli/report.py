"""`todobatch report`: build a static site from a run folder."""

from pathlib import Path
from typing import Annotated

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import OTHER, OUTPUT
from todobatch.errors import ExtraMissingError

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Output = Annotated[
    Path, OUTPUT("--output -o FOLDER", "The folder of the site. An older site in it is replaced.")
]
Docs = Annotated[
    Path | None,
    OTHER("FOLDER", "A folder of pages to add to the site, with a mkdocs.yml beside it."),
]
Strict = Annotated[bool, OTHER("--strict", "Fail if a page of --docs has a broken link.")]


def report(
    run: RunFolder, output: Output = Path("site"), docs: Docs = None, strict: Strict = False
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
    echo(str(index))
