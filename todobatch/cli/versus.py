"""`todobatch versus`: find out whether B is faster than A, by processes that take turns."""

import json
import random
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import (
    HOW_LONG,
    OUTPUT,
    WHAT,
    FailOnSlower,
    InputFile,
    InputFormat,
    Seed,
    import_from_current_folder,
    names,
    share_of,
    whole_numbers,
)
from todobatch.errors import EXIT_GATE, UsageError

if TYPE_CHECKING:
    from todobatch.lab.measure.difference import Difference
    from todobatch.lab.measure.versus import Versus
    from todobatch.lab.progress import Progress

A = Annotated[
    str,
    typer.Argument(metavar="A", help="The baseline: a workload, or package.module:function."),
]
B = Annotated[str, typer.Argument(metavar="B", help="The new one. It may be the same as A.")]
Executors = Annotated[
    str,
    typer.Option(metavar="A[,B]", rich_help_panel=WHAT, help="One for both, or one for each."),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="A[,B]", rich_help_panel=WHAT, help="Number of workers, for both or for each."
    ),
]
Interpreters = Annotated[
    str,
    typer.Option(
        metavar="A[,B]", rich_help_panel=WHAT,
        help="3.14, 3.14t (free-threaded) or a path, for both or for each.",
    ),
]  # fmt: skip
Budget = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", rich_help_panel=HOW_LONG,
        help="Time limit: a block that would end later is not begun, except the first.",
    ),
]  # fmt: skip
Target = Annotated[
    str,
    typer.Option(
        metavar="PERCENT", rich_help_panel=HOW_LONG,
        help="Stop without a verdict when the ratio is known to ± PERCENT.",
    ),
]  # fmt: skip
Format = Annotated[
    Literal["text", "json"],
    typer.Option("--format", rich_help_panel=OUTPUT, help="How to print the verdict."),
]


def versus(
    a: A,
    b: B,
    executors: Executors = "sequential",
    workers: Workers = "1",
    interpreters: Interpreters = "3.14",
    budget: Budget = 60.0,
    target: Target = "0.5%",
    input_file: InputFile = None,
    input_format: InputFormat = None,
    seed: Seed = None,
    fail_on_slower: FailOnSlower = None,
    output_format: Format = "text",
) -> None:
    """Find out whether B is faster than A, within seconds if they differ by a few percent.

    Both run in fresh processes, in turns of some milliseconds, until the verdict is clear.
    """
    gate = None if fail_on_slower is None else share_of(fail_on_slower, "--fail-on-slower")
    if not budget > 0:
        raise UsageError(
            f"{budget} s is not a valid budget", place="--budget", remedy="give more than 0 seconds"
        )

    import statistics  # noqa: F401 - with ours, before a user's module of that name is found

    from todobatch.cli.views import versus as view
    from todobatch.cli.views.console import Display
    from todobatch.lab.measure import versus as lab
    from todobatch.lab.store.schema import Cell

    import_from_current_folder()
    sides = zip(
        (a, b),
        _two(interpreters, "--interpreters"),
        _two(executors, "--executors"),
        _numbers(workers),
        strict=True,
    )
    first, second = (Cell(*side) for side in sides)
    with Display() as progress:
        prepared = lab.prepare(
            first,
            second,
            progress,
            input_file=input_file,
            input_format=input_format,
            seed=random.SystemRandom().randrange(2**32) if seed is None else seed,
            budget_s=budget,
            target=share_of(target, "--target"),
            limit=gate,
        )
        outcome = _run(prepared, progress)
    if output_format == "json":
        echo(json.dumps(outcome.as_json()))
    else:
        echo("\n".join(view.lines(outcome)))
    if outcome.beyond_limit:
        echo(f"todobatch: B is slower by more than {fail_on_slower}", err=True)
        raise typer.Exit(EXIT_GATE)


def _run(prepared: "Versus", progress: "Progress") -> "Difference":
    """Run the comparison and show progress; Ctrl-C prints what is known by then."""
    from todobatch.cli.views import versus as view

    seen: list[Difference] = []

    def on_block(found: "Difference") -> None:
        seen[:] = [found]
        progress.step("comparing A and B", detail=view.progress(found))

    progress.step("comparing A and B")
    try:
        return prepared.run(on_block)
    except KeyboardInterrupt:
        for line in view.lines(seen[0]) if seen else ():
            progress.message(line)
        raise


def _two(text: str, option: str) -> tuple[str, str]:
    """Return the names for A and B, given one for both or one for each. Raises UsageError."""
    found = names(text, option) or ()
    if len(found) not in {1, 2}:
        raise UsageError(
            f"{text!r} has {len(found)} values for two sides",
            place=option,
            remedy="give one for both sides, or A's and B's with a comma",
        )
    return found[0], found[-1]


def _numbers(text: str) -> tuple[int, int]:
    _two(text, "--workers")
    found = whole_numbers(text, "--workers") or ()
    return found[0], found[-1]
