"""Shows one `todobatch run`: a banner, progress, a line for each worker, and totals.

With ``--json`` standard output holds the document and nothing else.
"""

import json
from collections.abc import Iterator
from typing import Any, Self

from todobatch.cli.views import console
from todobatch.errors import TodobatchError
from todobatch.job.spec import Job
from todobatch.lab.interpreters import Interpreter
from todobatch.units import show_bytes, show_count, show_percent, show_ratio, show_seconds

KEPT = 100
FAILURES_SHOWN = 20
SIZES_SHOWN = 16


class RunView:
    """Shows one run. Use as a context manager, which removes the progress bar at its end."""

    def __init__(self, job: Job, interpreter: Interpreter, *, quiet: bool) -> None:
        self._job = job
        self._interpreter = interpreter
        self._quiet = quiet
        self._out = console.output()
        self._display = console.Display(quiet=quiet)
        self._skipped: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}
        self._cpus = 1
        self._step = "running the job"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._display.close()

    def on_event(self, event: dict[str, Any]) -> None:
        """Show one event of the job."""
        show = self._display.message
        match event["event"]:
            case "hello":
                self._facts, self._cpus = event["facts"], event["cpus"]
                if not self._quiet:
                    show(self._banner())
            case "skipped":
                if len(self._skipped) < KEPT:
                    self._skipped.append(event)
                show(f"skipped {event['file']}:{event['line']}: {event['cause']}")
            case "resumed":
                show(
                    f"resuming the job from its journal: {event['tasks']} tasks are done "
                    f"(this is run {event['runs']}; due dates are compared with {event['today']})"
                )
            case "progress":
                done, total = event["tasks"], self._job.generate
                self._display.step(self._step, done, total, f"{done:,} tasks done")
            case "interrupting":
                show("finishing the batches in flight; press Ctrl-C again to end at once")

    def baseline(self) -> None:
        """Show progress as that of the sequential run from now on."""
        self._step = "running sequentially, to measure the speed-up"

    def on_baseline_event(self, event: dict[str, Any]) -> None:
        """Show one event of the sequential run: progress only, the rest was shown before."""
        if event["event"] in {"progress", "interrupting"}:
            self.on_event(event)

    def no_baseline(self, error: TodobatchError) -> None:
        """Show why there is no speed-up."""
        self._display.message(f"the sequential run, for the speed-up, failed: {error}")

    def report(self, report: dict[str, Any], *, as_json: bool) -> None:
        """Print the result of the run."""
        self._display.close()
        if as_json:
            self._out.file.write(json.dumps(self._document(report)) + "\n")
            return
        self._workers(report)
        self._totals(report)
        self._failures(report)

    def _banner(self) -> str:
        facts, job = self._facts, self._job
        gil = "GIL on" if facts["gil_enabled"] else "GIL off (free-threaded)"
        build = "free-threaded build, " if facts["free_threaded_build"] else ""
        workers = show_count(job.workers, "worker")
        if job.least_workers is not None:
            workers = f"{job.least_workers} to {workers}"
        return (
            f"todobatch run: Python {facts['version']}, {build}{gil}, {self._cpus} CPUs; "
            f"{job.workload} on {job.executor}, {workers}, batches of {job.tasks_a_batch}"
        )

    def _workers(self, report: dict[str, Any]) -> None:
        """Print a line for each worker. With a journal, counts are those of all runs."""
        totals = {each["worker"]: each for each in report["worker_totals"]}
        stats = {each["worker"]: each for each in report["worker_stats"]}
        stole = any(each["steals"] for each in stats.values())
        parked = any(each["parkings"] for each in stats.values())
        names = ["worker", "batches", "tasks", "busy", "idle", "efficiency"]
        names += ["steals"] * stole + ["parked"] * parked + ["ran on CPUs"]
        table = console.table(
            names, drop=("ran on CPUs", "parked", "batches", "steals", "idle", "busy")
        )
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
                f"tasks     {report['tasks']} in "
                f"{show_count(report['batches'], 'batch', 'batches')}: {report['failed']} failed, "
                f"{show_count(report['skipped'], 'broken record')} skipped"
            ),
            (
                f"time      {show_seconds(wall)} ({rate:,.0f} tasks/s), after "
                f"{show_seconds(report['pool_start_s'])} to start the workers"
            ),
            (
                f"CPU       {show_percent(use)} of {self._cpus} CPUs "
                f"({show_seconds(report['cpu_s'])} of CPU time)"
            ),
            f"memory    {show_bytes(report['peak_bytes'])} at its peak, in all processes",
            f"speed-up  {_speedup(report)}",
            f"digest    {report['digest'] or 'unknown: a split batch returned no rows'}",
            *_more(report),
            *_recovery(report),
        ]
        self._out.print()
        for line in lines:
            console.line(self._out, line)

    def _failures(self, report: dict[str, Any]) -> None:
        named = [
            f"failed task {f['task']} {f['title']!r}: {f['error']}" for f in report["failures"]
        ]
        tasks_named = {f["task"] for f in report["failures"]}
        if not tasks_named or report["failed"] > len(tasks_named):
            # A whole batch that failed has no task to name.
            named += [f"failed {e}" for e in report["errors"] if " tasks failed: " not in e]
        for line in named[:FAILURES_SHOWN]:
            self._display.message(line)
        if len(named) > FAILURES_SHOWN:
            more = len(named) - FAILURES_SHOWN
            self._display.message(f"and {more} more; --json has the first 100, --output has all")

    def _document(self, report: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON document: the report, what ran it, and the broken records."""
        hidden = {"event", "gil_came_back", "baseline_digest"}
        document = {key: value for key, value in report.items() if key not in hidden}
        document["workload"] = self._job.workload
        document["python"] = self._facts["version"]
        document["cpus"] = self._cpus
        document["skipped_records"] = [
            {key: event[key] for key in ("file", "line", "cause")} for event in self._skipped
        ]
        return document


def _more(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that only some runs have."""
    if report["resizes"]:
        yield f"workers   {_sizes([each['size'] for each in report['resizes']])}"
    if report["left_out"]:
        named = ", ".join(f"{count} × {what}" for what, count in report["left_out"].items())
        yield f"left out  {named}"
    if report["output"]:
        yield f"output    {report['output']}"
    if costs := report["costs"]:
        yield (
            f"costs     {costs['file']}: {costs['measured']} batches measured, "
            f"{costs['before']} known before"
        )


def _sizes(sizes: list[int]) -> str:
    """Return the sizes that a pool had, in order; of many, the middle ones are left out."""
    half = SIZES_SHOWN // 2
    if len(sizes) > SIZES_SHOWN:
        shown = [*map(str, sizes[:half]), "…", *map(str, sizes[-half:])]
        return f"{' → '.join(shown)} ({len(sizes) - 1} changes; --json has all)"
    return " → ".join(map(str, sizes))


def _recovery(report: dict[str, Any]) -> Iterator[str]:
    """Yield what was done about faults, what the journal holds, and whether Ctrl-C ended it."""
    if report["retried"] or report["replaced"]:
        yield (
            f"faults    {report['replaced']} workers replaced, {report['retried']} retries of "
            f"batches or parts of them, {report['set_aside']} tasks set aside"
        )
    if report["journal"]:
        before = report["resumed_tasks"]
        yield (
            f"journal   {report['journal']}: {before} tasks done before, "
            f"{report['tasks'] - before} in this run (run {report['runs']})"
        )
    if report["interrupted"]:
        yield "interrupted by Ctrl-C"


def _speedup(report: dict[str, Any]) -> str:
    if report["executor"] == "sequential":
        return "none: this is the sequential run"
    if report["speedup"] is None:
        return "not measured; --baseline also runs the same tasks sequentially"
    return (
        f"{show_ratio(report['speedup'])} over a sequential run of the same batches "
        f"({show_seconds(report['baseline_wall_s'])}); each ran once, so use todobatch bench to "
        "see how sure this is"
    )
