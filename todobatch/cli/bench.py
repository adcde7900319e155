"""`todobatch bench`: measure which way of running a batch job is fastest on this machine."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from todobatch.cli.shared import options
from todobatch.cli.shared.echo import echo
from todobatch.cli.shared.log import start
from todobatch.cli.shared.options import DATA, HOW_LONG, OUTPUT, WHAT
from todobatch.errors import MeasurementError, UsageError
from todobatch.units import show_count

if TYPE_CHECKING:
    from todobatch.lab.store.folder import Run

Quick = Annotated[
    bool, HOW_LONG("--quick", "Measure two workloads within 3 minutes. This is the default.")
]
Full = Annotated[
    bool,
    HOW_LONG("--full", "Measure every workload, executor and number of workers, within an hour."),
]
Budget = Annotated[
    float | None,
    HOW_LONG(
        "SECONDS",
        "Time limit: a block of samples that would end later is not begun, except the first. "
        "Default: 150 for a quick run, 3600 with --full, no limit with --blocks, else 600.",
    ),
]
Target = Annotated[
    str | None,
    HOW_LONG(
        "PERCENT",
        "Stop measuring a cell when it is clearly slower than the fastest, or their ratio is "
        "known to ± PERCENT. Default: 2%. With 0, every block has every cell.",
    ),
]
Blocks = Annotated[
    int | None, HOW_LONG("N", "Measure each cell up to N times, once a block. Default: 40.")
]
Workloads = Annotated[
    str | None,
    WHAT("NAMES", "Comma-separated built-in workloads, or package.module:function of your own."),
]
Executors = Annotated[
    str | None,
    WHAT("NAMES", "Comma-separated executors. Default: all. sequential is always measured too."),
]
Workers = Annotated[str | None, WHAT("NUMBERS", "Comma-separated numbers of workers.")]
Interpreters = Annotated[
    str | None,
    WHAT("SPECS", "Comma-separated: 3.14, 3.14t (free-threaded), a path. Default: 3.14,3.14t."),
]
BatchSize = Annotated[int | None, DATA("N", "Tasks in a batch. Default: chosen for each workload.")]
Output = Annotated[
    Path | None,
    OUTPUT("--output -o FOLDER", "Write the run to this folder. Default: results/<time>-<mode>."),
]
Resume = Annotated[Path | None, OUTPUT("RUN", "Resume a run that was interrupted.")]
Like = Annotated[
    Path | None, OUTPUT("RUN", "Make a new run with the plan of another one, to compare both.")
]

Trust = Annotated[
    bool,
    OUTPUT(
        "--trust",
        "With --resume or --like: execute workloads and interpreters that the run names, "
        "even if they are not built in or of this machine.",
    ),
]


def bench(  # long: each option is a parameter
    quick: Quick = False,
    full: Full = False,
    workloads: Workloads = None,
    executors: Executors = None,
    workers: Workers = None,
    interpreters: Interpreters = None,
    budget: Budget = None,
    target: Target = None,
    blocks: Blocks = None,
    input_file: options.InputFile = None,
    format: options.InputFormat = None,  # noqa: A002
    batch_size: BatchSize = None,
    seed: options.Seed = None,
    output: Output = None,
    resume: Resume = None,
    like: Like = None,
    trust: Trust = False,
    progress: options.Progress = "auto",
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
) -> None:
    """Measure approaches side by side on real interpreters, and say which is fastest and how sure.

    Each sample runs in a fresh process and is saved at once. A run that was stopped or killed is
    resumed with --resume.
    """
    from todobatch.cli.views import console, show
    from todobatch.lab.measure import bench as lab
    from todobatch.lab.plan.cells import Choice

    log = start("bench", progress, quiet, log_json)
    if quick and full:
        raise UsageError("--quick and --full exclude each other", remedy="leave out one of them")
    options.check_format(input_file, format, "--format")
    choice = Choice(
        mode="full" if full else "quick" if quick else None,
        workloads=options.names(workloads, "--workloads"),
        executors=options.names(executors, "--executors"),
        workers=options.whole_numbers(workers, "--workers"),
        interpreters=options.names(interpreters, "--interpreters"),
        blocks=blocks,
        budget_s=budget,
        target=None if target is None else options.share_of(target, "--target", below_one=True),
        seed=seed,
        batch_size=batch_size,
    )
    planned = choice != Choice() or bool(input_file or format)
    _check_plan(planned=planned, output=output, resume=resume, like=like, trust=trust)
    try:
        with console.Display(log) as display:
            if resume is not None:
                run = lab.resume(resume, display, trust=trust)
            elif like is not None:
                run = lab.begin_like(like, display, output=output, trust=trust)
            else:
                run = lab.begin(
                    choice, display, output=output, input_file=input_file, format=format
                )
    except lab.RunInterrupted as stopped:
        saved = f"Stopped; {stopped.samples} samples are saved."
        command = f"todobatch bench --resume {quote(str(stopped.folder))}"
        command += " --trust" * stopped.needs_trust
        echo(f"{saved} Resume with:\n  {command}", err=True)
        raise
    echo()
    show.show(run)
    echo(f"\nRun folder: {run.folder}")
    _refuse_unmeasured(run)


def _check_plan(
    *, planned: bool, output: Path | None, resume: Path | None, like: Path | None, trust: bool
) -> None:
    """Refuse options that contradict the plan of another run."""
    if resume is not None and (planned or output or like):
        raise UsageError(
            "other options were given, but a resumed run keeps its own plan",
            place="--resume",
            remedy="leave out all options but --trust, or begin a new run without --resume",
        )
    if like is not None and planned:
        raise UsageError(
            "other options were given, but the new run has the plan of the other run",
            place="--like",
            remedy="leave out all options but --output and --trust, or begin a run without --like",
        )
    if trust and resume is None and like is None:
        raise UsageError(
            "it works only with --resume or --like",
            place="--trust",
            remedy="leave it out: what you name yourself needs no --trust",
        )


def _refuse_unmeasured(run: "Run") -> None:
    """Raise MeasurementError when a planned cell has void samples only."""
    good = {sample.cell for sample in run.samples if sample.void is None}
    void = {sample.cell: sample.void for sample in run.samples if sample.void is not None}
    lacking = [cell for cell in run.meta.plan.cells if cell in void and cell not in good]
    if lacking:
        others = show_count(len(lacking) - 1, "more cell")
        raise MeasurementError(
            f"all its samples are void: {void[lacking[0]]}"
            + f". {others} without a valid sample" * (len(lacking) > 1),
            place=lacking[0].key,
            remedy="remove the cause and measure again; the figures of other cells are valid",
        )
