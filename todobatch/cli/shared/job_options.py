"""The options of `todobatch run`, in groups."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from todobatch.cli.shared.options import DATA, OUTPUT, RECOVERY, WHAT

Input = Annotated[
    Path | None,
    typer.Argument(
        metavar="INPUT", show_default=False,
        help="A file of tasks: todo.txt, Taskwarrior export (.json), JSON Lines (.jsonl) or CSV; "
        "- is standard input.",
    ),
]  # fmt: skip
Workload = Annotated[
    str,
    typer.Option(
        "--workload", "-w", metavar="NAME", rich_help_panel=WHAT,
        help="What is done with each task: validate, process, report, pipeline, example8, alloc, "
        "hot-object, native, io-wait, http, hybrid, payload, skewed, or package.module:function "
        "of your own.",
    ),
]  # fmt: skip
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor", "-e", metavar="NAME", rich_help_panel=WHAT, show_default=False,
        help="How batches run in parallel: sequential, threads, stealing, elastic, interpreters, "
        "processes or coroutines. Default: threads; elastic if --workers is a range.",
    ),
]  # fmt: skip
Workers = Annotated[
    str,
    typer.Option(
        "--workers", "-n", metavar="N|MIN-MAX", rich_help_panel=WHAT,
        help="How many batches run at once. With a range, elastic finds the best number in it.",
    ),
]  # fmt: skip
Interpreter = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC", rich_help_panel=WHAT, show_default=False,
        help="3.14, 3.14t (free-threaded) or a path. Default: the Python that runs todobatch.",
    ),
]  # fmt: skip
Order = Annotated[
    Literal["input", "priority", "longest"],
    typer.Option(
        rich_help_panel=WHAT,
        help="Which batches run first: in the order of the input, the most urgent, or the longest "
        "by --costs. The last two sort 10,000 tasks at a time.",
    ),
]  # fmt: skip
Placement = Annotated[
    Literal["none", "spread"],
    typer.Option(
        rich_help_panel=WHAT,
        help="spread pins each worker to one CPU, in turn over the allowed CPUs.",
    ),
]  # fmt: skip
Generate = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=DATA, show_default=False,
                 help="Generate N tasks instead of reading a file."),
]  # fmt: skip
Seed = Annotated[
    int, typer.Option(metavar="N", rich_help_panel=DATA, help="Seed of the generated tasks.")
]  # fmt: skip
BatchSize = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=DATA, show_default=False,
                 help="Tasks in a batch. Default: 100, and slow batches are split among workers."),
]  # fmt: skip
Strict = Annotated[
    bool,
    typer.Option("--strict", rich_help_panel=DATA,
                 help="Stop at the first broken record instead of skipping it."),
]  # fmt: skip
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", rich_help_panel=OUTPUT, show_default=False,
                 help="Write the result of each task to FILE, as JSON Lines."),
]  # fmt: skip
Baseline = Annotated[
    bool | None,
    typer.Option(
        "--baseline/--no-baseline", rich_help_panel=OUTPUT, show_default=False,
        help="Also run the job sequentially, to measure the speed-up. Default: only for built-in "
        "workloads without a journal.",
    ),
]  # fmt: skip
Costs = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=OUTPUT, show_default=False,
                 help="Save how long each batch took in FILE, for --order longest."),
]  # fmt: skip
Journal = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", rich_help_panel=RECOVERY, show_default=False,
        help="Save progress in FILE. After a crash or a kill, the same command resumes the job, "
        "and --output has each task once.",
    ),
]  # fmt: skip
Retries = Annotated[
    int,
    typer.Option(
        metavar="N", rich_help_panel=RECOVERY,
        help="Retry a failing batch up to N times, then isolate the failing tasks and set them "
        "aside. A batch fails if its worker dies, its deadline passes or it raises as a whole.",
    ),
]  # fmt: skip
Backoff = Annotated[
    float,
    typer.Option(metavar="SECONDS", rich_help_panel=RECOVERY,
                 help="Wait before the first retry; doubled before each further one, up to 30 s."),
]  # fmt: skip
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", rich_help_panel=RECOVERY,
                 help="Also retry batches in which single tasks failed."),
]  # fmt: skip
Deadline = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", rich_help_panel=RECOVERY, show_default=False,
                 help="Stop a batch that runs longer. Needs --executor processes."),
]  # fmt: skip
NoProgress = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", rich_help_panel=RECOVERY, show_default=False,
                 help="End the job with an error if no batch is completed for this long."),
]  # fmt: skip
