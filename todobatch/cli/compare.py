"""`todobatch compare`: find what became slower from one run to another, and fail a build."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.options import OTHER, OUTPUT, FailOnSlower, share_of
from todobatch.errors import EXIT_GATE, UsageError

A = Annotated[
    Path, typer.Argument(metavar="A", help="The baseline: a run folder or a pyperf JSON file.")
]
B = Annotated[Path, typer.Argument(metavar="B", help="The new one, of the same kind.")]
FailOnEfficiencyDrop = Annotated[
    str | None,
    OUTPUT(
        "LIMIT[@WORKERS]",
        "Exit with code 3 if the efficiency of a cell fell significantly more than this "
        "allows. 3%@4 looks at cells with 4 workers only.",
    ),
]
Format = Annotated[
    Literal["text", "markdown", "json"], OUTPUT("--format", "How to print the comparison.")
]
All = Annotated[bool, OUTPUT("--all", "Also list cells without a difference.")]
Force = Annotated[
    bool, OTHER("--force", "Compare even if machines, interpreters or workloads differ.")
]


def compare(
    a: A,
    b: B,
    fail_on_slower: FailOnSlower = None,
    fail_on_efficiency_drop: FailOnEfficiencyDrop = None,
    output_format: Format = "text",
    all_: All = False,
    force: Force = False,
) -> None:
    """Compare two runs cell by cell: how much slower or faster B is, and how sure that is.

    Runs of different machines, interpreters or workloads are refused without --force. A LIMIT is
    written 3% or 0.03.
    """
    slower = None if fail_on_slower is None else share_of(fail_on_slower, "--fail-on-slower")
    drop = None if fail_on_efficiency_drop is None else _drop(fail_on_efficiency_drop)

    from todobatch.cli.views import compare as view
    from todobatch.cli.views.tables import width_of_output
    from todobatch.lab.compare.compare import compare as compare_runs
    from todobatch.lab.compare.gates import gate_on_efficiency, gate_on_slower
    from todobatch.lab.compare.inputs import read_measurements

    outcome = compare_runs(read_measurements(a), read_measurements(b), force=force)
    gates = []
    if slower is not None:
        gates.append(gate_on_slower(outcome, slower, f"--fail-on-slower {fail_on_slower}"))
    if drop is not None:
        option = f"--fail-on-efficiency-drop {fail_on_efficiency_drop}"
        gates.append(gate_on_efficiency(outcome, *drop, option))
    if output_format == "json":
        echo(view.as_json(outcome, gates))
    elif output_format == "markdown":
        echo(view.as_markdown(outcome, gates, unfold=all_))
    else:
        echo(view.as_text(outcome, gates, unfold=all_, width=width_of_output()))
    failed = [gate for gate in gates if gate.failed]
    if output_format != "text":  # where the document goes to a file, the log says it too
        for gate in failed:
            echo(f"todobatch: {view.sentence(gate)}", err=True)
    if failed:
        raise typer.Exit(EXIT_GATE)


def _drop(text: str) -> tuple[float, int | None]:
    """Read ``'3%@4'`` or ``'3%'``: the share, and the number of workers. Raises UsageError."""
    option = "--fail-on-efficiency-drop"
    share, at, workers = text.partition("@")
    limit = share_of(share, option, below_one=True)
    if not at:
        return limit, None
    if not re.fullmatch(r"\s*\d{1,6}\s*", workers, re.ASCII) or int(workers) < 2:
        raise UsageError(
            f"{workers!r} is not a number of workers",
            place=option,
            remedy="write 2 or more after the @, such as 3%@4",
        )
    return limit, int(workers)
