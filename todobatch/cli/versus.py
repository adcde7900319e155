"""`todobatch versus`: is B faster than A? Two workloads or two approaches, in turns."""

import json
import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todobatch.cli.shares import share_of
from todobatch.errors import EXIT_GATE, UsageError

if TYPE_CHECKING:
    from todobatch.lab.measure.difference import Difference
    from todobatch.lab.measure.versus import Versus
    from todobatch.lab.progress import Progress

FORMATS = ("text", "json")


def versus(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A workload: built in, or package.module:function.")
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="The one to judge; may be the same as A.")
    ],
    interpreters: Annotated[
        str, typer.Option(metavar="A[,B]", help="One for both, or one for each.")
    ] = "3.14",
    executors: Annotated[
        str, typer.Option(metavar="A[,B]", help="One for both, or one for each.")
    ] = "sequential",
    workers: Annotated[
        str, typer.Option(metavar="A[,B]", help="One number for both, or one for each.")
    ] = "1",
    input_file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Your own tasks instead of generated ones.",
                     show_default=False),
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(help="Format of --input when its name does not tell.", show_default=False),
    ] = None,
    budget: Annotated[
        float, typer.Option(metavar="SECONDS",
                            help="Begin no block but the first that would not fit in.")
    ] = 60.0,
    target: Annotated[
        str, typer.Option(metavar="PERCENT", help="Stop undecided once it is known to ± this.")
    ] = "0.5%",
    seed: Annotated[
        int | None, typer.Option(help="Fixes tasks and order; drawn if left out.",
                                 show_default=False),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")
    ] = "text",
    fail_on_slower: Annotated[
        str | None,
        typer.Option(metavar="LIMIT",
                     help="Exit with 3 if B is surely slower by more than that, such as 3%.",
                     show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Tell whether B is faster than A, within seconds when the difference is a few percent.

    Both live in fresh processes at once and take turns of some milliseconds, until it is decided.
    """
    if format_ not in FORMATS:
        raise UsageError(
            f"unknown format {format_!r}", place="--format", remedy=f"one of {', '.join(FORMATS)}"
        )
    gate = None if fail_on_slower is None else share_of(fail_on_slower, "--fail-on-slower")
    if not budget > 0:
        raise UsageError(f"a budget of {budget} s", place="--budget", remedy="more than 0 seconds")

    import statistics  # noqa: F401 - with ours, before a user's module of that name is found

    from todobatch.cli.views.console import Display
    from todobatch.lab.measure import versus as lab
    from todobatch.lab.store.schema import Cell

    if "" not in sys.path:
        sys.path.insert(0, "")  # a workload of one's own is looked for in the current folder
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
    if format_ == "json":
        typer.echo(json.dumps(outcome.as_json()))
    else:
        for line in _lines(outcome):
            typer.echo(line)
    if outcome.beyond_limit:
        typer.echo(f"todobatch: B is slower by more than {fail_on_slower}", err=True)
        raise typer.Exit(EXIT_GATE)


def _run(prepared: "Versus", progress: "Progress") -> "Difference":
    """Run it; Ctrl-C prints what was known by then."""
    seen: list[Difference] = []

    def on_block(found: "Difference") -> None:
        seen[:] = [found]
        known = f"block {len(found.blocks)}: B takes {_ratio(found)} as long as A"
        progress.step("comparing A and B", detail=known)

    progress.step("comparing A and B")
    try:
        return prepared.run(on_block)
    except KeyboardInterrupt:
        for line in _lines(seen[0]) if seen else ():
            progress.message(line)
        raise


def _two(text: str, option: str) -> tuple[str, str]:
    """One name for both sides or one for each. Raises UsageError."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(names) not in {1, 2}:
        raise UsageError(
            f"{text!r} names {len(names)}", place=option, remedy="one for both, or A's,B's"
        )
    return names[0], names[-1]


def _numbers(text: str) -> tuple[int, int]:
    a, b = _two(text, "--workers")
    try:
        return int(a), int(b)
    except ValueError:
        raise UsageError(
            f"{text!r} is no number of workers", place="--workers", remedy="such as 2, or 2,4"
        ) from None


def _lines(outcome: "Difference") -> list[str]:
    from todobatch.units import show_seconds

    what = {
        "faster": "B is faster",
        "slower": "B is slower",
        "equivalent": "no difference to act on (within 2 %)",
        "inconclusive": "inconclusive; a larger --budget may help",
    }[outcome.verdict]
    if outcome.beyond_limit is not None:
        what += f"; it is {'' if outcome.beyond_limit else 'not '}beyond the limit"
    blocks = len(outcome.blocks)
    turns = sum(len(block.a_s) for block in outcome.blocks)
    lines = [
        f"A  {outcome.a.key}",
        f"B  {outcome.b.key}",
        f"B takes {_ratio(outcome)} as long as A: {what}",
        (
            f"{blocks} {'block' if blocks == 1 else 'blocks'} of two fresh processes, each with "
            f"{turns} turns of {show_seconds(_median_turn(outcome))} and {outcome.tasks} tasks; "
            f"{show_seconds(outcome.took_s)} in all, seed {outcome.seed}"
        ),
    ]
    if not outcome.same_output:
        lines.append("Their outputs differ: they do not do the same work.")
    return lines


def _median_turn(outcome: "Difference") -> float:
    import statistics

    return statistics.median(turn for block in outcome.blocks for turn in block.a_s)


def _ratio(outcome: "Difference") -> str:
    low, high = (
        "?" if math.isnan(bound) else f"{bound:.3f}"
        for bound in (outcome.ratio.low, outcome.ratio.high)
    )
    return f"{outcome.ratio.estimate:.3f}× [{low}, {high}]"
