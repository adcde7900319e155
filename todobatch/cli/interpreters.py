"""`todobatch interpreters`: list the interpreters of this machine, and install others."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from todobatch.cli.shared.command import Command
from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import OTHER, Json
from todobatch.errors import InterpreterMissingError

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter
    from todobatch.lab.progress import Progress

app = typer.Typer(help="List the Python interpreters of this machine, or install one.")

Specs = Annotated[
    list[str] | None,
    typer.Argument(metavar="SPEC", help="Versions such as 3.13t. Default: 3.14 and 3.14t."),
]
Optimized = Annotated[
    bool, OTHER("--optimized", "Install an optimised build. Building one takes 15 to 30 minutes.")
]
FromSource = Annotated[
    bool, OTHER("--from-source", "Build from source instead of trying uv first.")
]
Own = Annotated[bool, OTHER("--own", "Install even if one is found outside the cache.")]


@app.callback(invoke_without_command=True)
def root(context: typer.Context, as_json: Json = False) -> None:
    """List the interpreters of this machine, or install one."""
    if context.invoked_subcommand is None:
        list_(as_json)


@app.command("list", cls=Command, epilog="Example: todobatch interpreters list --json")
def list_(as_json: Json = False) -> None:
    """List the interpreters in the cache, uv's folder and PATH. Each is run to see what it is."""
    from todobatch.cli.views import interpreters as view
    from todobatch.cli.views.tables import width_of_output
    from todobatch.lab.interpreters import survey

    found = survey()
    if as_json:
        echo(view.as_json(found))
    else:
        echo("\n".join(view.lines(found, width_of_output())))


@app.command(cls=Command, epilog="Example: todobatch interpreters install 3.14 3.14t")
def install(
    specs: Specs = None,
    optimized: Optimized = False,
    from_source: FromSource = False,
    own: Own = False,
) -> None:
    """Install interpreters into the cache: downloaded by uv, else built from pinned sources."""
    from todobatch.cli.views.console import Display
    from todobatch.lab import interpreters

    asked = specs or list(interpreters.DEFAULT_INTERPRETERS)
    known = {} if own or from_source else _here_already(asked, optimized)
    for spec in asked:
        if spec not in known:
            interpreters.check_installable(spec)  # before minutes are spent on another one
    with Display() as progress:
        for spec in asked:
            if spec in known:
                _report(progress, known[spec], "is installed already")
                continue
            progress.message(f"{spec}: installing{', optimised' if optimized else ''}")
            done = interpreters.install(
                spec, optimized=optimized, prebuilt=not from_source, progress=progress
            )
            _report(progress, done, "is ready")


def _here_already(specs: list[str], optimized: bool) -> "dict[str, Interpreter]":
    from todobatch.lab.interpreters import find

    known = {}
    for spec in specs:
        with contextlib.suppress(InterpreterMissingError):
            one = find(spec)
            if one.facts["optimized_build"] or not optimized:
                known[spec] = one
    return known


def _report(progress: "Progress", one: "Interpreter", what: str) -> None:
    from todobatch.cli.views.interpreters import home

    progress.message(f"{one.spec} {what}: {one.facts['version']}, {home(one.executable)}")
