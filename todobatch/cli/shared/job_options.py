"""The options of `todobatch run`, in groups."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from todobatch.cli.shared.options import DATA, OUTPUT, RECOVERY, WHAT

Input = Annotated[
    Path | None,
    typer.Argument(
        metavar="INPUT",
        help="A file of tasks: todo.txt, Taskwarrior export (.json), JSON Lines (.jsonl) or CSV; "
        "- is standard input.",
    ),
]
Workload = Annotated[
    str,
    WHAT(
        "--workload -w NAME",
        "What is done with each task: validate, process, report, pipeline, example8, alloc, "
        "hot-object, native, io-wait, http, hybrid, payload, skewed, or package.module:function "
        "of your own.",
    ),
]
Executor = Annotated[
    str | None,
    WHAT(
        "--executor -e NAME",
        "How batches run in parallel: sequential, threads, stealing, elastic, interpreters, "
        "processes or coroutines. Default: threads; elastic if --workers is a range.",
    ),
]
Workers = Annotated[
    str,
    WHAT(
        "--workers -n N|MIN-MAX",
        "How many batches run at once. With a range, elastic finds the best number in it.",
    ),
]
Interpreter = Annotated[
    str | None,
    WHAT("SPEC", "3.14, 3.14t (free-threaded) or a path. Default: the Python that runs todobatch."),
]
Order = Annotated[
    Literal["input", "priority", "longest"],
    WHAT(
        "",
        "Which batches run first: in the order of the input, the most urgent, or the longest "
        "by --costs. The last two sort 10,000 tasks at a time.",
    ),
]
Placement = Annotated[
    Literal["none", "spread"],
    WHAT("", "spread pins each worker to one CPU, in turn over the allowed CPUs."),
]
Generate = Annotated[int | None, DATA("N", "Generate N tasks instead of reading a file.")]
Seed = Annotated[int, DATA("N", "Seed of the generated tasks.")]
BatchSize = Annotated[
    int | None,
    DATA("N", "Tasks in a batch. Default: 100, and slow batches are split among workers."),
]
Strict = Annotated[
    bool, DATA("--strict", "Stop at the first broken record instead of skipping it.")
]
Output = Annotated[
    str | None,  # a Path would make ./- the same as -
    OUTPUT(
        "--output -o FILE",
        "Write the result of each task to FILE, as JSON Lines; - is standard output.",
    ),
]
Force = Annotated[bool, OUTPUT("--force", "Replace an --output file that this job did not write.")]
Baseline = Annotated[
    bool | None,
    OUTPUT(
        "--baseline/--no-baseline",
        "Also run the job sequentially, to measure the speed-up. Default: only for built-in "
        "workloads without a journal.",
    ),
]
Costs = Annotated[
    Path | None, OUTPUT("FILE", "Save how long each batch took in FILE, for --order longest.")
]
Journal = Annotated[
    Path | None,
    RECOVERY(
        "FILE",
        "Save progress in FILE. After a crash or a kill, the same command resumes the job, "
        "and --output has each task once.",
    ),
]
Retries = Annotated[
    int,
    RECOVERY(
        "N",
        "Retry what breaks a batch up to N times, then set it aside: the failing task if it is "
        "known, else the batch, which is then split. A batch breaks if its worker dies, its "
        "deadline passes or it raises as a whole.",
    ),
]
Backoff = Annotated[
    float,
    RECOVERY(
        "SECONDS", "Wait before the first retry; doubled before each further one, up to 30 s."
    ),
]
RetryFailed = Annotated[
    bool,
    RECOVERY(
        "--retry-failed",
        "Also retry batches in which single tasks failed. With --journal, also run the failed "
        "tasks of earlier runs again.",
    ),
]
ChangedCode = Annotated[
    Literal["stop", "keep"],
    RECOVERY(
        "",
        "If the workload's code has changed since the last run with this --journal: stop with an "
        "error, or keep what is done and run the rest with the new code.",
    ),
]
Deadline = Annotated[
    float | None, RECOVERY("SECONDS", "Stop a batch that runs longer. Needs --executor processes.")
]
NoProgress = Annotated[
    float | None,
    RECOVERY("SECONDS", "End the job with an error if no batch is completed for this long."),
]
