"""`todobatch run`: run one job with one executor on one interpreter."""

import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from todobatch.cli.shared import job_options as option
from todobatch.cli.shared.input_copy import DESCRIPTOR, readable_twice
from todobatch.cli.shared.log import start
from todobatch.cli.shared.options import (
    InputFormat,
    Json,
    LogJson,
    Progress,
    Quiet,
    check_format,
)
from todobatch.coordinator.options import DEFAULT_RECOVERY, DEFAULT_WORKERS
from todobatch.errors import (
    EXIT_INTERRUPTED,
    EXIT_TASKS_FAILED,
    GilCameBackError,
    OutputsDisagreeError,
    StoreError,
    TodobatchError,
    UsageError,
)
from todobatch.files import temporary_folder

if TYPE_CHECKING:
    from todobatch.cli.views.run import RunView
    from todobatch.job.client import OnEvent
    from todobatch.job.spec import Job, JobReport
    from todobatch.lab.interpreters import Interpreter
    from todobatch.sources import Source

MOST_TASKS_A_BATCH = 1_000_000


def run(  # long: each option is a parameter, and each a field of the job
    file: option.Input = None,
    workload: option.Workload = "pipeline",
    executor: option.Executor = None,
    workers: option.Workers = str(DEFAULT_WORKERS),
    interpreter: option.Interpreter = None,
    order: option.Order = "input",
    placement: option.Placement = "none",
    generate: option.Generate = None,
    seed: option.Seed = 0,
    format: InputFormat = None,  # noqa: A002
    batch_size: option.BatchSize = None,
    strict: option.Strict = False,
    output: option.Output = None,
    force: option.Force = False,
    as_json: Json = False,
    baseline: option.Baseline = None,
    costs: option.Costs = None,
    journal: option.Journal = None,
    retries: option.Retries = DEFAULT_RECOVERY.retries,
    backoff: option.Backoff = DEFAULT_RECOVERY.backoff_s,
    changed_code: option.ChangedCode = "stop",
    retry_failed: option.RetryFailed = False,
    deadline: option.Deadline = None,
    no_progress: option.NoProgress = None,
    progress: Progress = "auto",
    quiet: Quiet = False,
    log_json: LogJson = False,
) -> None:
    """Run a workload over tasks with one executor. Show how long it took and the speed-up.

    Ctrl-C or SIGTERM once finishes the batches in flight and reports them; twice ends the job at
    once.
    """
    from todobatch.cli.views.run import RunView
    from todobatch.coordinator.options import Recovery
    from todobatch.job.spec import Job
    from todobatch.lab.interpreters import find

    log = start("run", progress, quiet, log_json)
    log.counts = {"tasks": 0, "failed": 0, "set_aside": 0}
    source = _check_input(file, generate, format, batch_size)
    output = _checked_output(output, journal, as_json=as_json)
    least, most = _how_many(workers)
    executor = executor or ("threads" if least is None else "elastic")
    _check_executor(executor, least, most)
    chosen = find(interpreter or sys.executable)
    with nullcontext() if file is None else readable_twice(file) as name:
        job = Job(
            input=name,
            input_name=None if source is None else source.file,
            format=None if source is None else source.name,
            generate=generate,
            seed=seed,
            strict=strict,
            workload=workload,
            executor=executor,
            workers=most,
            least_workers=least,
            placement=placement,
            batch_size=batch_size,
            order=order,
            recovery=Recovery(
                retries=retries,
                backoff_s=backoff,
                retry_failed=retry_failed,
                deadline_s=deadline,
                watchdog_s=no_progress,
            ),
            output=output,
            force=force,
            journal=None if journal is None else str(journal),
            changed_code=changed_code,
            costs=None if costs is None else str(costs),
        )
        by_itself = ":" not in workload and journal is None
        wants_baseline = by_itself if baseline is None else baseline
        with RunView(job, chosen, log) as view:
            report = _measure(job, chosen, view, wants_baseline=wants_baseline)
            view.report(report, as_json=as_json)
    _end(report, chosen)


def _how_many(workers: str) -> tuple[int | None, int]:
    """Return the least and the most workers; the least is None if one number is given."""
    pattern = r"(?:([0-9]{1,18})-)?(-?[0-9]{1,18})"
    if found := re.fullmatch(pattern, workers.replace(" ", "")):
        return None if found[1] is None else int(found[1]), int(found[2])
    shown = workers if len(workers) <= 60 else f"{workers[:57]}…"
    raise UsageError(
        f"{shown!r} is not a number of workers",
        place="--workers",
        remedy="give a whole number, such as 4, or a range, such as 1-8",
    )


def _check_executor(executor: str, least: int | None, most: int) -> None:
    """Refuse an unknown executor or a wrong range before anything is started."""
    from todobatch.executors import Elastic, get

    get(executor)
    if least is None:
        return
    if executor != "elastic":
        raise UsageError(
            f"{executor} needs a fixed number of workers, not a range",
            place=f"--workers {least}-{most}",
            remedy=f"use --executor elastic, which sizes itself, or one number: --workers {most}",
        )
    Elastic(least).check(most)


def _measure(
    job: "Job", interpreter: "Interpreter", view: "RunView", *, wants_baseline: bool
) -> dict[str, Any]:
    """Run the job, then the same job sequentially if that is wanted and possible."""
    report = _run(job, interpreter, view.on_event).document()
    view.done(report)
    report.update(interpreter=interpreter.spec, speedup=None, baseline_wall_s=None)
    if job.executor == "sequential":
        report.update(speedup=1.0, baseline_wall_s=report["wall_s"])
    elif wants_baseline and not report["interrupted"] and not report["resumed_tasks"]:
        try:
            base = _run_sequentially(job, interpreter, view.on_baseline_event)
        except TodobatchError as error:  # the job itself is done: only the speed-up is missing
            view.no_baseline(error)
        except KeyboardInterrupt:
            report["interrupted"] = True
        else:
            report.update(
                baseline_wall_s=base.wall_s,
                speedup=base.wall_s / report["wall_s"],
                baseline_digest=base.digest,
            )
    return report


def _run_sequentially(job: "Job", interpreter: "Interpreter", on_event: "OnEvent") -> "JobReport":
    """Run the same work without a journal, limits or costs. Raises KeyboardInterrupt."""
    with temporary_folder("baseline") as folder:
        # Rows are written where the job wrote them: it must be the same work.
        output = None if job.output is None else str(folder / "rows.jsonl")
        recovery = replace(job.recovery, deadline_s=None, watchdog_s=None)
        alone = replace(
            job, executor="sequential", workers=1, least_workers=None, output=output,
            recovery=recovery, journal=None, placement="none", costs=None, order="input",
        )  # fmt: skip
        report = _run(alone, interpreter, on_event)
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def _run(job: "Job", interpreter: "Interpreter", on_event: "OnEvent") -> "JobReport":
    from todobatch.job.client import run_job
    from todobatch.lab.interpreters import worker_environment

    environment = worker_environment(interpreter, inherit_gil=True)
    return run_job(job, interpreter.executable, environment, on_event, name=interpreter.spec)


def _end(report: dict[str, Any], interpreter: "Interpreter") -> None:
    """Raise an error or `typer.Exit` if the report shows that the run did not go well."""
    if report["gil_came_back"]:
        raise GilCameBackError(
            "the GIL was off at the start and on at the end, so these are not figures of free "
            "threads",
            place=f"interpreter {interpreter.spec}",
            remedy="the warning above names the extension module that turned it on: do without it, "
            "or set PYTHON_GIL=0 if the module is safe without the GIL",
        )
    digests = {report["digest"], report.get("baseline_digest", report["digest"])}
    if not report["failed"] and "" not in digests and len(digests) > 1:  # "": it is not known
        raise OutputsDisagreeError(
            f"the output differs from that of the sequential run "
            f"(digests {report['digest'][:12]}… and {report['baseline_digest'][:12]}…)",
            place=f"executor {report['executor']}",
            remedy="make the workload give the same output for the same tasks: look for shared "
            "state, random numbers and clocks in it",
        )
    if (costs := report["costs"]) and costs["error"]:
        raise StoreError(
            costs["error"],
            place=f"--costs {costs['file']}",
            remedy="name a file in a folder where you may create files; all else of this run is "
            "done and saved",
        )
    if report["interrupted"]:
        raise typer.Exit(EXIT_INTERRUPTED)
    if report["failed"]:
        raise typer.Exit(EXIT_TASKS_FAILED)


def _check_input(
    file: Path | None, generate: int | None, format_name: str | None, batch_size: int | None
) -> "Source | None":
    """Refuse wrong arguments before anything is started, and return the input if it is a file."""
    if (file is None) == (generate is None):
        raise UsageError(
            "neither a file of tasks nor --generate was given" if file is None else
            "both a file of tasks and --generate were given",
            place="INPUT",
            remedy="give one of them, for example: todobatch run examples/todo.txt",
        )  # fmt: skip
    if generate is not None and generate < 1:
        raise UsageError(
            f"cannot generate {generate} tasks", place="--generate", remedy="give 1 or more"
        )
    if batch_size is not None and not 1 <= batch_size <= MOST_TASKS_A_BATCH:
        raise UsageError(
            f"a batch cannot have {batch_size} tasks",
            place="--batch-size",
            remedy=f"give a number from 1 to {MOST_TASKS_A_BATCH:,}",
        )
    check_format(file, format_name, "--format")
    if file is None:
        return None
    from todobatch.sources import open_source

    return open_source(file, format=format_name)


def _checked_output(output: str | None, journal: Path | None, *, as_json: bool) -> str | None:
    """Return the output, with "-" for each name of standard output.

    Refuses standard output where it is already in use, or the job is to be resumed, and other
    descriptors, because the process that runs the job has its own.
    """
    if output is None:
        return None
    found = DESCRIPTOR.fullmatch(output)
    if output != "-" and found is None:
        return output
    if found is not None and found[1] not in {"1", "stdout"}:
        raise UsageError(
            "the process that runs the job does not have this descriptor",
            place=f"--output {output}",
            remedy="name a file or a named pipe, or write to standard output with --output -",
        )
    if as_json:
        raise UsageError(
            "both the rows and the JSON document would go to standard output",
            place="--output -",
            remedy="leave out --json, or write the rows to a file",
        )
    if sys.__stdout__ is None:  # /dev/null is in its place by now
        raise UsageError(
            "standard output is closed", place="--output -", remedy="write the rows to a file"
        )
    if journal is not None:
        raise UsageError(
            "rows cannot be removed from standard output when the job is resumed",
            place="--output -",
            remedy="with --journal, write the rows to a file",
        )
    return "-"
