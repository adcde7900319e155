"""`todobatch versus`: find out whether B is faster than A, by processes that take turns."""

import json
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from todobatch.cli.shared import options
from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.log import start
from todobatch.cli.shared.options import HOW_LONG, OUTPUT, WHAT
from todobatch.errors import EXIT_GATE, UsageError

if TYPE_CHECKING:
    from todobatch.lab.measure.difference import Difference
    from todobatch.lab.measure.versus import Versus
    from todobatch.lab.progress import Progress

A = Annotated[
    str, typer.Argument(metavar="A", help="The baseline: a workload, or package.module:function.")
]
B = Annotated[str, typer.Argument(metavar="B", help="The new one. It may be the same as A.")]
Executors = Annotated[str, WHAT("A[,B]", "One for both, or one for each.")]
Workers = Annotated[str, WHAT("A[,B]", "Number of workers, for both or for each.")]
Interpreters = Annotated[
    str, WHAT("A[,B]", "3.14, 3.14t (free-threaded) or a path, for both or for each.")
]
Budget = Annotated[
    float,
    HOW_LONG("SECONDS", "Time limit: a block that would end later is not begun, except the first."),
]
Target = Annotated[
    str, HOW_LONG("PERCENT", "Stop without a verdict when the ratio is known to ± PERCENT.")
]
Format = Annotated[Literal["text", "json"], OUTPUT("--format", "How to print the verdict.")]


def versus(  # long: each option is a parameter
    a: A,
    b: B,
    executors: Executors = "sequential",
    workers: Workers = "1",
    interpreters: Interpreters = "3.14",
    budget: Budget = 60.0,
    target: Target = "0.5%",
    input_file: options.InputFile = None,
    input_format: options.InputFormat = None,
    seed: options.Seed = None,
    fail_on_slower: options.FailOnSlower = None,
    output_format: Format = "text",
    progress: options.Progress = "auto",
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
) -> None:
    """Find out whether B is faster than A, within seconds if they differ by a few percent.

    Both run in fresh processes, in turns of some milliseconds, until the verdict is clear.
    """
    log = start("versus", progress, quiet, log_json)
    gate = None if fail_on_slower is None else options.share_of(fail_on_slower, "--fail-on-slower")
    share = options.share_of(target, "--target", below_one=True)
    options.check_format(input_file, input_format, "--input-format")
    if not 0 < budget < math.inf:
        raise UsageError(
            f"{budget} s is not a valid budget", place="--budget", remedy="give more than 0 seconds"
        )

    from todobatch.cli.views import versus as view
    from todobatch.cli.views.console import Display
    from todobatch.cli.views.tables import width_of_output, wrapped
    from todobatch.lab.measure import versus as lab
    from todobatch.lab.store.schema import Cell

    sides = zip(
        (a, b),
        _two(interpreters, "--interpreters"),
        _two(executors, "--executors"),
        _two(workers, "--workers", options.whole_numbers),
        strict=True,
    )
    first, second = (Cell(*side) for side in sides)
    with Display(log) as display:
        prepared = lab.prepare(
            first,
            second,
            display,
            input_file=input_file,
            input_format=input_format,
            seed=random.SystemRandom().randrange(2**32) if seed is None else seed,
            budget_s=budget,
            target=share,
            limit=gate,
        )
        outcome = _run(prepared, display)
    if output_format == "json":
        echo(json.dumps(outcome.as_json()))
    else:
        echo("\n".join(wrapped(view.lines(outcome), width_of_output())))
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


def _two(
    text: str,
    place: str,
    read: Callable[[str, str], tuple[Any, ...] | None] = options.names,
) -> tuple[Any, Any]:
    """Return the values for A and B, given one for both or one for each. Raises UsageError."""
    found = read(text, place) or ()
    if len(found) not in {1, 2}:
        raise UsageError(
            f"{text!r} has {len(found)} values for two sides",
            place=place,
            remedy="give one for both sides, or A's and B's with a comma",
        )
    return found[0], found[-1]
