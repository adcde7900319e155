"""What `todobatch run` shows: banner, progress, a line a worker, totals.

Everything for people goes to standard error while it runs and the summary to standard output; with
`--json` standard output holds the document and nothing else.
"""

import json
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from todobatch.errors import TodobatchError
from todobatch.job.spec import Job
from todobatch.lab.interpreters import Interpreter
from todobatch.units import show_bytes, show_percent, show_ratio, show_seconds

KEPT = 100
FAILURES_SHOWN = 20
SIZES_SHOWN = 16


class RunView:
    """Follows one run. Use as a context manager; the progress bar lives as long."""

    def __init__(self, job: Job, interpreter: Interpreter, *, quiet: bool) -> None:
        self._job = job
        self._interpreter = interpreter
        self._quiet = quiet
        # No emoji: Rich would turn "tasks.csv:100:" into a picture.
        self._out = Console(soft_wrap=True, highlight=False, emoji=False)
        self._err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
        self._skipped: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}
        self._cpus = 1
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._err,
            transient=True,
            disable=quiet or not self._err.is_terminal,
        )
        self._bar = self._progress.add_task("tasks", total=job.generate)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def on_event(self, event: dict[str, Any]) -> None:
        """Show one event of the job."""
        match event["event"]:
            case "hello":
                self._facts, self._cpus = event["facts"], event["cpus"]
                if not self._quiet:
                    self._err.print(self._banner())
            case "skipped":
                if len(self._skipped) < KEPT:
                    self._skipped.append(event)
                place = escape(f"{event['file']}:{event['line']}")
                self._err.print(f"skipped {place}: {escape(event['cause'])}")
            case "resumed":
                self._err.print(
                    f"going on with the journal: {event['tasks']} tasks were done before "
                    f"(run {event['runs']}; due dates as of {event['today']})"
                )
            case "progress":
                self._progress.update(self._bar, completed=event["tasks"])
            case "interrupting":
                self._err.print("finishing the batches under way; Ctrl-C again ends it at once")

    def baseline(self) -> None:
        """From now on the bar is the sequential run's."""
        self._progress.reset(self._bar, description="sequential, to compare")

    def on_baseline_event(self, event: dict[str, Any]) -> None:
        """Show one event of the sequential run: its progress only, the rest has been said."""
        if event["event"] in {"progress", "interrupting"}:
            self.on_event(event)

    def no_baseline(self, error: TodobatchError) -> None:
        """Say why there is no speed-up."""
        self._err.print(escape(f"the sequential run to compare with failed: {error}"))

    def report(self, report: dict[str, Any], *, as_json: bool) -> None:
        """Print what the run came to."""
        self._progress.stop()
        if as_json:
            self._out.file.write(json.dumps(self._document(report), ensure_ascii=False) + "\n")
            return
        self._workers(report)
        self._totals(report)
        self._failures(report)

    def _banner(self) -> str:
        facts, job = self._facts, self._job
        gil = "GIL on" if facts["gil_enabled"] else "GIL off (free-threaded)"
        build = "free-threaded build, " if facts["free_threaded_build"] else ""
        workers = f"{job.workers} worker{'s' if job.workers > 1 else ''}"
        if job.least_workers is not None:
            workers = f"{job.least_workers} to {workers}"
        return (
            f"todobatch run: Python {facts['version']}, {build}{gil}, {self._cpus} CPUs; "
            f"{job.workload} on {job.executor}, {workers}, batches of {job.tasks_a_batch}"
        )

    def _workers(self, report: dict[str, Any]) -> None:
        """A line each. Times are this run's; with a journal, counts are those of all runs."""
        totals = {each["worker"]: each for each in report["worker_totals"]}
        stats = {each["worker"]: each for each in report["worker_stats"]}
        stole = any(each["steals"] for each in stats.values())
        parked = any(each["parkings"] for each in stats.values())
        names = ["worker", "batches", "tasks", "busy", "idle", "efficiency"]
        names += ["steals"] * stole + ["parked"] * parked + ["CPUs it ran on"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in names:
            table.add_column(name, justify="left" if name == "worker" else "right")
        for name in sorted(totals.keys() | stats.keys()):
            total, its = totals.get(name), stats.get(name)
            cells = [name, *(str(total[key] if total else 0) for key in ("batches", "tasks"))]
            if its is None:  # of an earlier run
                cells += [show_seconds(total["busy_s"]) if total else "", "", ""]
            else:
                cells += [
                    show_seconds(its["busy_s"]),
                    show_seconds(its["idle_s"]),
                    show_percent(its["efficiency"]),
                ]
            if stole:
                cells.append(str(its["steals"]) if its else "")
            if parked:
                cells.append(show_seconds(its["parked_s"]) if its and its["parkings"] else "")
            cells.append(" ".join(map(str, total["cpus"])) or "unknown" if total else "")
            table.add_row(*cells)
        self._out.print(table)

    def _totals(self, report: dict[str, Any]) -> None:
        wall = report["wall_s"]
        rate = (report["tasks"] - report["resumed_tasks"]) / wall if wall else 0.0
        use = report["cpu_s"] / (wall * self._cpus) if wall else 0.0
        lines = [
            (
                f"tasks     {report['tasks']} in {report['batches']} batches, "
                f"{report['failed']} failed, {report['skipped']} skipped"
            ),
            (
                f"time      {show_seconds(wall)} ({rate:,.0f} tasks/s), "
                f"{show_seconds(report['pool_start_s'])} before that to bring up the workers"
            ),
            (
                f"CPU       {show_percent(use)} of {self._cpus} CPUs "
                f"({show_seconds(report['cpu_s'])} of CPU time)"
            ),
            f"memory    {show_bytes(report['peak_bytes'])} at its peak, all processes",
            f"speed-up  {_speedup(report)}",
            f"digest    {report['digest'] or 'not known: a batch was run in parts, without rows'}",
        ]
        if report["resizes"]:
            lines.append(f"size      {_sizes([each['size'] for each in report['resizes']])}")
        if report["left_out"]:
            named = ", ".join(f"{count} × {what}" for what, count in report["left_out"].items())
            lines.append(f"left out  {named}")
        if report["output"]:
            lines.append(f"output    {report['output']}")
        if report["costs"]:
            costs = report["costs"]
            lines.append(
                f"costs     {costs['file']}: {costs['measured']} batches measured, "
                f"{costs['before']} known before"
            )
        lines.extend(_recovery(report))
        if report["interrupted"]:
            lines.append("interrupted by Ctrl-C")
        self._out.print()
        for line in lines:
            self._out.print(escape(line))

    def _failures(self, report: dict[str, Any]) -> None:
        named = [
            f"failed task {f['task']} {f['title']!r}: {f['error']}" for f in report["failures"]
        ]
        tasks_named = {f["task"] for f in report["failures"]}
        if not tasks_named or report["failed"] > len(tasks_named):
            # Whole batches that failed have no task to name: their own error says all.
            named += [f"failed {e}" for e in report["errors"] if " tasks failed: " not in e]
        for line in named[:FAILURES_SHOWN]:
            self._err.print(escape(line))
        if len(named) > FAILURES_SHOWN:
            self._err.print(f"and {len(named) - FAILURES_SHOWN} more; --json gives the first 100")

    def _document(self, report: dict[str, Any]) -> dict[str, Any]:
        """The JSON document: the report, who ran it, and the broken records."""
        hidden = {"event", "gil_came_back", "baseline_digest"}
        document = {key: value for key, value in report.items() if key not in hidden}
        document["workload"] = self._job.workload
        document["python"] = self._facts["version"]
        document["cpus"] = self._cpus
        document["skipped_records"] = [
            {key: event[key] for key in ("file", "line", "cause")} for event in self._skipped
        ]
        return document


def _sizes(sizes: list[int]) -> str:
    """The sizes that a pool had, in order; in the middle they may be left out."""
    half = SIZES_SHOWN // 2
    if len(sizes) > SIZES_SHOWN:
        shown = [*map(str, sizes[:half]), "…", *map(str, sizes[-half:])]
        return f"{' → '.join(shown)} workers ({len(sizes) - 1} changes; --json has them)"
    return f"{' → '.join(map(str, sizes))} workers"


def _recovery(report: dict[str, Any]) -> list[str]:
    """What was done about faults, and by the journal; nothing where there is nothing to tell."""
    lines = []
    if report["retried"] or report["replaced"]:
        lines.append(
            f"faults    {report['replaced']} workers replaced, {report['retried']} runs of batches "
            f"or parts of them again, {report['set_aside']} tasks set aside"
        )
    if report["journal"]:
        before = report["resumed_tasks"]
        lines.append(
            f"journal   {report['journal']}: {before} tasks done before, "
            f"{report['tasks'] - before} now, run {report['runs']}"
        )
    return lines


def _speedup(report: dict[str, Any]) -> str:
    if report["executor"] == "sequential":
        return "this is the sequential run"
    if report["speedup"] is None:
        return "not measured (--baseline measures a sequential run of the same tasks)"
    return (
        f"{show_ratio(report['speedup'])} against a sequential run of the same batches "
        f"({show_seconds(report['baseline_wall_s'])}); one run each: "
        "todobatch bench says how sure that is"
    )
