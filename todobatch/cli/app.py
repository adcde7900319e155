"""The table of contents: every command, one a line."""

import typer

from todobatch import __version__
from todobatch.cli.bench import bench
from todobatch.cli.compare import compare
from todobatch.cli.doctor import doctor
from todobatch.cli.drill import drill
from todobatch.cli.errors import Command
from todobatch.cli.interpreters import app as interpreters
from todobatch.cli.report import report
from todobatch.cli.run import run
from todobatch.cli.show import show
from todobatch.cli.versus import versus

app = typer.Typer(
    name="todobatch",
    help="Which way should this batch job run in parallel, on which interpreter, with how many "
    "workers - and how sure are we?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help costs 0.2 s of imports, and help must be quick
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


for function, summary in (
    (run, "Run one job one way, and say what it took."),
    (bench, "Measure many ways side by side, and name the fastest."),
    (show, "Show what a run of bench found, and why."),
    (versus, "Tell in seconds whether B is faster than A."),
    (compare, "Compare two runs: what became slower, and a gate for CI."),
    (doctor, "Say what on this machine spoils figures, and how noisy it is."),
    (drill, "Break every executor in every way, and count what is lost."),
    (report, "Build a site from a run of bench."),
):
    app.command(cls=Command, short_help=summary)(function)
app.add_typer(
    interpreters, name="interpreters", short_help="List Python interpreters, or install one."
)
