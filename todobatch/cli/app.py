"""The table of contents: every command, one a line."""

import typer

from todobatch import __version__
from todobatch.cli.bench import bench
from todobatch.cli.interpreters import app as interpreters
from todobatch.cli.report import report
from todobatch.cli.run import run
from todobatch.cli.show import show

app = typer.Typer(
    name="todobatch",
    help="Which way should this batch job run in parallel, on which interpreter, with how many "
    "workers - and how sure are we?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"todobatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and leave."
    ),
) -> None:
    """Which way should this batch job run in parallel?"""


app.command()(run)
app.command()(bench)
app.command()(show)
app.command()(report)
app.add_typer(interpreters, name="interpreters")
