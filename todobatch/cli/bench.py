"""`todobatch bench`: measure which way of running a batch job is fastest on this machine."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from todobatch.cli.shares import share_of
from todobatch.errors import MeasurementError, UsageError

if TYPE_CHECKING:
    from todobatch.lab.store.folder import Run


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="A first answer within 3 minutes (the default).")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Every workload, executor and number of workers.")
    ] = False,
    workloads: Annotated[
        str | None,
        typer.Option(help="Comma-separated; built-in names or package.module:function.",
                     show_default=False),
    ] = None,
    executors: Annotated[
        str | None,
        typer.Option(help="Comma-separated; sequential is always measured too.",
                     show_default=False),
    ] = None,
    workers: Annotated[
        str | None, typer.Option(help="Comma-separated numbers of workers.", show_default=False)
    ] = None,
    interpreters: Annotated[
        str | None,
        typer.Option(help="Comma-separated: 3.14, 3.14t, a path. Default: 3.14,3.14t.",
                     show_default=False),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(help="Sample no cell more often. Default: 40, or what the budget allows.",
                     show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="PERCENT",
                     help="Sample until what may be fastest is told apart, or known to ± this. "
                     "Default: 2%. 0 samples every cell in every block.", show_default=False),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Begin no block that would not fit in. Default: "
                     "150 quick, 3600 full, 600 of one's own, none where --blocks is given.",
                     show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Fixes tasks and order; drawn and recorded if left out.",
                     show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Tasks a batch; chosen to fit the workload if left out.",
                     show_default=False),
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Your own tasks instead of generated ones.",
                     show_default=False),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="Format of --input when its name does not tell.",
                     show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FOLDER",
                     help="The run folder. Default: results/<time>-<mode>.", show_default=False),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take a new run by the plan of another one, to compare.",
                     show_default=False),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Go on with a run that was interrupted.",
                     show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Measure approaches side by side on real interpreters, and say which is fastest and how sure.

    Samples are taken in blocks of random order, each in a fresh process, and saved as they come:
    a run that is stopped or killed goes on with --resume.
    """
    from todobatch.cli.views import show
    from todobatch.cli.views.console import Display
    from todobatch.lab.measure import bench as lab_bench
    from todobatch.lab.plan import cells as plan

    choice = plan.Choice(
        mode=_mode(quick=quick, full=full),
        workloads=_names(workloads, "--workloads"),
        executors=_names(executors, "--executors"),
        workers=_numbers(workers, "--workers"),
        interpreters=_names(interpreters, "--interpreters"),
        blocks=blocks,
        budget_s=budget,
        target=None if target is None else share_of(target, "--target"),
        seed=seed,
        batch_size=batch_size,
    )
    planned = choice != plan.Choice() or input_file or format_
    if resume is not None and (planned or output or like):
        raise UsageError(
            "a resumed run keeps its own plan",
            place="--resume",
            remedy="leave out the other options, or begin a new run without --resume",
        )
    if like is not None and planned:
        raise UsageError(
            "the plan is that of the other run",
            place="--like",
            remedy="leave out the other options but -o, or begin a new run without --like",
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # a workload of one's own is looked for in the current folder
    try:
        with Display() as progress:
            if resume is not None:
                run = lab_bench.resume(resume, progress)
            elif like is not None:
                run = lab_bench.begin_like(like, progress, output=output)
            else:
                run = lab_bench.begin(
                    choice, progress, output=output, input_file=input_file, format=format_
                )
    except lab_bench.RunInterrupted as stopped:
        typer.echo(f"stopped; {stopped.samples} samples are saved. Resume with:")
        typer.echo(f"  todobatch bench --resume {stopped.folder}")
        raise
    typer.echo()
    show.show(run)
    typer.echo(f"\nRun folder: {run.folder}")
    _refuse_unmeasured(run)


def _refuse_unmeasured(run: "Run") -> None:
    """A planned cell that has nothing but voids is not what was asked for: exit code 5."""
    good = {sample.cell for sample in run.samples if sample.void is None}
    void = {sample.cell: sample.void for sample in run.samples if sample.void is not None}
    lacking = [cell for cell in run.meta.plan.cells if cell in void and cell not in good]
    if lacking:
        more = f" (and {len(lacking) - 1} more cells)" if len(lacking) > 1 else ""
        raise MeasurementError(
            f"no sample of it is valid: {void[lacking[0]]}{more}",
            place=lacking[0].key,
            remedy="the other figures stand; mend the cause and measure again",
        )


def _mode(*, quick: bool, full: bool) -> str | None:
    if quick and full:
        raise UsageError("--quick and --full exclude each other", remedy="leave one of them out")
    if quick:
        return "quick"
    return "full" if full else None


def _names(text: str | None, option: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(
            "it names nothing", place=option, remedy="give one or more, separated by commas"
        )
    return names


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    names = _names(text, option)
    if names is None:
        return None
    try:
        return tuple(int(name) for name in names)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a list of whole numbers", place=option, remedy="such as 1,2,4,8"
        ) from error
