"""`todobatch interpreters`: which ones are here, and getting those that are not."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from todobatch.cli.errors import Command
from todobatch.errors import InterpreterMissingError

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter, Survey
    from todobatch.lab.progress import Progress

app = typer.Typer(help="List the Python interpreters of this machine, or install one.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
HEADINGS = ("", "spec", "version", "build", "GIL", "optimised", "debug", "from", "path")


@app.callback(invoke_without_command=True)
def root(context: typer.Context, as_json: AsJson = False) -> None:
    """List the interpreters of this machine (what `list` does), or install one."""
    if context.invoked_subcommand is None:
        list_(as_json)


@app.command("list", cls=Command)
def list_(as_json: AsJson = False) -> None:
    """List what is found in the cache, uv's folder and PATH; each was run to prove it."""
    from todobatch.lab.interpreters import survey

    found = survey()
    if as_json:
        import json

        typer.echo(json.dumps(_document(found), indent=2))
    else:
        typer.echo("\n".join(_page(found)))


@app.command(cls=Command)
def install(
    specs: Annotated[
        list[str] | None,
        typer.Argument(metavar="SPEC", help="3.14, 3.14t, …; default: both of these."),
    ] = None,
    optimized: Annotated[
        bool,
        typer.Option("--optimized", help="Profile-guided and link-time optimised, 15-30 min."),
    ] = False,
    from_source: Annotated[
        bool, typer.Option("--from-source", help="Do not try uv's download first.")
    ] = False,
    own: Annotated[
        bool, typer.Option("--own", help="Install it even where one is found outside the cache.")
    ] = False,
) -> None:
    """Get interpreters into the cache: uv's download, else built from pinned sources."""
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
                _tell(progress, known[spec], "is here already")
                continue
            progress.message(f"{spec}: installing{', optimised' if optimized else ''}")
            done = interpreters.install(
                spec, optimized=optimized, prebuilt=not from_source, progress=progress
            )
            _tell(progress, done, "is ready")


def _here_already(specs: list[str], optimized: bool) -> "dict[str, Interpreter]":
    from todobatch.lab.interpreters import find

    known = {}
    for spec in specs:
        with contextlib.suppress(InterpreterMissingError):
            one = find(spec)
            if one.facts["optimized_build"] or not optimized:
                known[spec] = one
    return known


def _tell(progress: "Progress", one: "Interpreter", what: str) -> None:
    progress.message(f"{one.spec} {what}: {one.facts['version']}, {_home(one.executable)}")


def _document(found: "Survey") -> dict[str, Any]:
    return {
        "interpreters": [
            {
                "spec": one.spec,
                "version": one.facts["version"],
                "free_threaded_build": one.facts["free_threaded_build"],
                "gil_enabled": one.facts["gil_enabled"],
                "optimized_build": one.facts["optimized_build"],
                "lto_build": one.facts["lto_build"],
                "debug_build": one.facts["debug_build"],
                "origin": one.origin,
                "path": str(one.executable),
            }
            for one in found.working
        ],
        "broken": [
            {"path": str(one.executable), "origin": one.origin, "reason": one.reason}
            for one in found.broken
        ],
        "missing": _missing(found),
    }


def _page(found: "Survey") -> list[str]:
    lines = [*_table(found.working), "", "* is what its spec stands for."]
    if found.broken:
        lines += ["", "Of no use:"]
        lines += [f"  {_home(one.executable)}: {one.reason}" for one in found.broken]
    lines += _pair(found)
    return lines


def _table(working: "list[Interpreter]") -> list[str]:
    rows, seen = [HEADINGS], set[str]()
    for one in working:
        facts = one.facts
        rows.append((
            "" if one.spec in seen else "*",
            one.spec,
            facts["version"],
            "free-threaded" if facts["free_threaded_build"] else "GIL",
            "on" if facts["gil_enabled"] else "off",
            {True: "PGO", False: "no"}[facts["optimized_build"]] + " + LTO" * facts["lto_build"],
            "yes" if facts["debug_build"] else "no",
            one.origin,
            _home(one.executable),
        ))  # fmt: skip
        seen.add(one.spec)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _pair(found: "Survey") -> list[str]:
    """What is missing of the pair that is measured by default, or sets its two builds apart."""
    from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, differences, find_all

    missing = _missing(found)
    if missing:
        get = f"  todobatch interpreters install {' '.join(missing)}"
        return ["", f"Missing of the default pair: {', '.join(missing)}", get]
    apart = differences(*find_all(DEFAULT_INTERPRETERS))
    if not apart:
        return []
    return ["", "The default pair differs in more than the GIL:", *(f"  {one}" for one in apart)]


def _missing(found: "Survey") -> list[str]:
    from todobatch.lab.interpreters import DEFAULT_INTERPRETERS

    here = {one.spec for one in found.working}
    return [spec for spec in DEFAULT_INTERPRETERS if spec not in here]


def _home(path: Path) -> str:
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
