"""The `todobatch` application: it lists every command, one a line."""

import typer

from todobatch import __version__
from todobatch.cli.bench import bench
from todobatch.cli.compare import compare
from todobatch.cli.doctor import doctor
from todobatch.cli.drill import drill
from todobatch.cli.interpreters import app as interpreters
from todobatch.cli.report import report
from todobatch.cli.run import run
from todobatch.cli.shared.command import Command
from todobatch.cli.shared.echo import echo
from todobatch.cli.show import show
from todobatch.cli.versus import versus

app = typer.Typer(
    name="todobatch",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich's help costs 0.2 s of imports, and help must be quick
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: todobatch bench --quick",
)


def _version(wanted: bool) -> None:
    if wanted:
        echo(f"todobatch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Which way should this batch job run in parallel, on which interpreter, with how many workers?

    And how sure is that? todobatch measures it on this machine.
    """


for function, summary, example in (
    (bench, "Measure many approaches side by side.", "bench --quick"),
    (show, "Show what a run of bench found.", "show results/published/quick"),
    (report, "Build a site from a run of bench.", "report results/published/quick"),
    (run, "Run one job with one approach.", "run examples/todo.txt --executor threads --workers 2"),
    (
        versus,
        "Compare two workloads or approaches in seconds.",
        "versus pipeline report --budget 5",
    ),
    (compare, "Compare two runs, and gate a change.", "compare A B --fail-on-slower 3%"),
    (doctor, "Check how well this machine measures.", "doctor --seconds 5"),
    (drill, "Break every executor, and count lost tasks.", "drill --executors threads --no-peers"),
):
    app.command(cls=Command, short_help=summary, epilog=f"Example: todobatch {example}")(function)
app.add_typer(interpreters, name="interpreters", short_help="List or install interpreters.")
