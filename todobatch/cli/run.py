"""`todobatch run`: one job, one executor, one interpreter."""

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from todobatch.errors import (
    EXIT_INTERRUPTED,
    EXIT_TASKS_FAILED,
    GilCameBackError,
    OutputsDisagreeError,
    TodobatchError,
    UsageError,
)

if TYPE_CHECKING:
    from todobatch.coordinator.options import Order
    from todobatch.executors.base import Placement
    from todobatch.job.spec import Job
    from todobatch.lab.interpreters import Interpreter

T = TypeVar("T")
MOST_TASKS_A_BATCH = 1_000_000
INPUT = "A file of tasks: todo.txt, Taskwarrior export (.json), JSON Lines (.jsonl) or CSV."


def run(
    file: Annotated[Path | None, typer.Argument(metavar="INPUT", help=INPUT)] = None,
    generate: Annotated[
        int | None, typer.Option(metavar="N", help="Make N tasks instead of reading a file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the generated tasks.")] = 0,
    format: Annotated[  # noqa: A002
        str | None, typer.Option(help="The file's format, when its name does not tell.")
    ] = None,
    workload: Annotated[
        str,
        typer.Option(
            "--workload", "-w",
            help="validate, process, report, pipeline, example8, alloc, hot-object, native, "
            "io-wait, http, hybrid, payload, skewed, or package.module:function of your own.",
        ),
    ] = "pipeline",
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor", "-e",
            help="sequential, threads, stealing, elastic, interpreters, processes or coroutines. "
            "Default: threads, or elastic where --workers is a range.",
        ),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            "--workers", "-n", metavar="N|MIN-MAX",
            help="How many batches at once. A range is for elastic, which finds how many pay.",
        ),
    ] = "2",
    interpreter: Annotated[
        str | None,
        typer.Option(help="3.14, 3.14t, … or a path. Default: the one todobatch runs on."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Tasks in a batch. Default: 100, of which slow ones are handed out in parts.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write each task's result, as JSON Lines.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse the input at the first broken record.")
    ] = False,
    placement: Annotated[
        str,
        typer.Option(
            metavar="spread|none", help="spread: keep each worker on one CPU, in turn over them."
        ),
    ] = "none",
    order: Annotated[
        str,
        typer.Option(
            metavar="input|priority|longest",
            help="priority: batches with urgent tasks first; longest: those first that took "
            "longest by --costs. Both within a bounded look-ahead.",
        ),
    ] = "input",
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Keep in FILE what each batch took, for --order longest."
        ),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep in FILE what is done: after a kill or a crash the same command goes on "
            "where it was, and --output holds each task once.",
        ),
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Run a batch again so often when its worker dies, its deadline passes or it fails "
            "as a whole; then the tasks that do it are searched and set aside.",
        ),
    ] = 2,
    backoff: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Before the first retry; twice as long before each next one."
        ),
    ] = 0.05,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also run batches again whose tasks failed.")
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Stop a batch that runs longer. Needs --executor processes."
        ),
    ] = None,
    no_progress: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="End the run when no batch came back for so long, and say why."
        ),
    ] = None,
    baseline: Annotated[
        bool | None,
        typer.Option(
            "--baseline/--no-baseline",
            help="Also measure a sequential run, for the speed-up. Default: yes, but not with a "
            "journal, nor for a workload of your own, which may do things that must not be done "
            "twice.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:  # fmt: skip
    """Run a workload over tasks on one executor, and say what it took."""
    from todobatch.cli.views.run import RunView
    from todobatch.coordinator.options import Recovery
    from todobatch.executors import Elastic, get
    from todobatch.job.spec import Job
    from todobatch.lab.interpreters import find

    _check_input(file, generate, format, batch_size)
    least, most = _how_many(workers)
    executor = executor or ("threads" if least is None else "elastic")
    get(executor)  # a wrong name is told before anything is started
    if least is not None and executor != "elastic":
        raise UsageError(
            f"{executor} has as many workers as it is told, and no range of them",
            place=f"--workers {workers}",
            remedy=f"use --executor elastic, which sizes itself, or one number: --workers {most}",
        )
    if least is not None:
        Elastic(least).check(most)
    orders: dict[str, Order] = {"input": "input", "priority": "priority", "longest": "longest"}
    placements: dict[str, Placement] = {"spread": "spread", "none": "none"}
    chosen = find(interpreter) if interpreter else _running()
    with _standard_input(file, format) as (name, format_name):
        job = Job(
            input=name,
            format=format_name,
            generate=generate,
            seed=seed,
            strict=strict,
            workload=workload,
            executor=executor,
            workers=most,
            least_workers=least,
            placement=_one_of(placements, placement, "--placement"),
            batch_size=batch_size,
            order=_one_of(orders, order, "--order"),
            recovery=Recovery(
                retries=retries,
                backoff_s=backoff,
                retry_failed=retry_failed,
                deadline_s=deadline,
                watchdog_s=no_progress,
            ),
            output=None if output is None else str(output),
            journal=None if journal is None else str(journal),
            costs=None if costs is None else str(costs),
        )
        by_itself = ":" not in workload and journal is None
        wants_baseline = by_itself if baseline is None else baseline
        with RunView(job, chosen, quiet=as_json) as view:
            report = _measure(job, chosen, view, wants_baseline=wants_baseline)
            view.report(report, as_json=as_json)
    _judge(report, chosen)


def _how_many(workers: str) -> tuple[int | None, int]:
    """The least and the most, or None and how many. The executor judges the numbers."""
    if found := re.fullmatch(r"(?:(\d+)-)?(-?\d+)", workers.replace(" ", "")):
        return None if found[1] is None else int(found[1]), int(found[2])
    raise UsageError(
        f"{workers!r} is no number of workers",
        place="--workers",
        remedy="a whole number, such as 4, or a range, such as 1-8",
    )


def _one_of(known: dict[str, T], name: str, option: str) -> T:
    if name in known:
        return known[name]
    raise UsageError(f"unknown {name!r}", place=option, remedy=f"one of {', '.join(known)}")


def _measure(
    job: "Job", interpreter: "Interpreter", view: Any, *, wants_baseline: bool
) -> dict[str, Any]:
    from todobatch.job.client import run_job
    from todobatch.lab.interpreters import worker_environment

    python = interpreter.executable, worker_environment(interpreter, inherit_gil=True)
    report = run_job(job, *python, view.on_event, name=interpreter.spec).document()
    report.update(interpreter=interpreter.spec, speedup=None, baseline_wall_s=None)
    if job.executor == "sequential":
        report.update(speedup=1.0, baseline_wall_s=report["wall_s"])
    elif wants_baseline and not report["interrupted"] and not report["resumed_tasks"]:
        view.baseline()
        with tempfile.TemporaryDirectory(prefix="todobatch-") as folder:
            # Rows are written here too, where the job wrote them: it is to be the same work.
            output = None if job.output is None else str(Path(folder) / "rows.jsonl")
            recovery = replace(job.recovery, deadline_s=None, watchdog_s=None)
            alone = replace(
                job, executor="sequential", workers=1, least_workers=None, output=output,
                recovery=recovery, journal=None, placement="none", costs=None, order="input",
            )  # fmt: skip
            try:
                base = run_job(alone, *python, view.on_baseline_event, name=interpreter.spec)
            except KeyboardInterrupt:
                report["interrupted"] = True
                return report
            except TodobatchError as error:  # the job itself is done: only the speed-up is missing
                view.no_baseline(error)
                return report
        if base.interrupted:
            report["interrupted"] = True
        else:
            report.update(
                baseline_wall_s=base.wall_s,
                speedup=base.wall_s / report["wall_s"],
                baseline_digest=base.digest,
            )
    return report


def _judge(report: dict[str, Any], interpreter: "Interpreter") -> None:
    """Leave with the exit code that the report stands for."""
    if report["gil_came_back"]:
        raise GilCameBackError(
            "the GIL was off at the start and on at the end, so these figures are not "
            "free-threaded ones",
            place=f"interpreter {interpreter.spec}",
            remedy="the warning above names the extension module that turned it on; do without it, "
            "or set PYTHON_GIL=0 if you know it to be safe",
        )
    digests = {report["digest"], report.get("baseline_digest", report["digest"])}
    if not report["failed"] and "" not in digests and len(digests) > 1:  # "": it is not known
        raise OutputsDisagreeError(
            f"the output is not that of the sequential run "
            f"({report['digest'][:12]}… and {report['baseline_digest'][:12]}…)",
            place=f"executor {report['executor']}",
            remedy="the workload must give the same output for the same tasks: look for shared "
            "state, random numbers and clocks in it",
        )
    if report["interrupted"]:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report["failed"]:
        raise typer.Exit(EXIT_TASKS_FAILED)


def _check_input(
    file: Path | None, generate: int | None, format_name: str | None, batch_size: int | None
) -> None:
    if (file is None) == (generate is None):
        raise UsageError(
            "give either a file of tasks or --generate N" if file is None else
            "both a file of tasks and --generate were given",
            place="INPUT",
            remedy="for example: todobatch run examples/todo.txt",
        )  # fmt: skip
    if generate is not None and generate < 1:
        raise UsageError(f"{generate} tasks", place="--generate", remedy="1 or more")
    if batch_size is not None and not 1 <= batch_size <= MOST_TASKS_A_BATCH:
        raise UsageError(
            f"{batch_size} tasks a batch",
            place="--batch-size",
            remedy=f"from 1 to {MOST_TASKS_A_BATCH}",
        )
    if file is not None:
        from todobatch.sources import open_source

        open_source(file, format=format_name)  # a missing file is told before anything is started


@contextmanager
def _standard_input(
    file: Path | None, format_name: str | None
) -> Iterator[tuple[str | None, str | None]]:
    """Put what can be read only once into a file while the run lasts: standard input, a pipe.

    Yields the name to read instead, and its format.
    """
    if file is None or (str(file) != "-" and file.is_file()):
        yield (None if file is None else str(file)), format_name
        return
    with tempfile.NamedTemporaryFile(prefix="todobatch-input-") as copy:
        if str(file) == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with file.open("rb") as once:
                shutil.copyfileobj(once, copy)
        copy.flush()
        yield copy.name, format_name or _format_of(str(file))


def _format_of(name: str) -> str | None:
    from todobatch.sources import open_source

    return None if name == "-" else open_source(Path(name)).name


def _running() -> "Interpreter":
    from todobatch.lab.interpreters import find

    return find(sys.executable)
