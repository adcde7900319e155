"""Shows one `todobatch run`: a banner, progress, a line for each worker, and totals.

With ``--json`` standard output holds the document and nothing else.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from todobatch.cli.shared.log import Log
from todobatch.cli.views import console
from todobatch.errors import TodobatchError
from todobatch.job.spec import STDOUT, Job
from todobatch.lab.interpreters import Interpreter
from todobatch.units import show_bytes, show_count, show_percent, show_ratio, show_seconds

KEPT = 100
FAILURES_SHOWN = 20
"""The terminal shows at most this many lines of failures."""
NAMED_SINGLY = 3
"""Up to this many tasks that failed for one cause get a line each; more get one line together."""
SKIPPED_SHOWN = 10
"""So many broken records get a line each, and the others one line together."""
SIZES_SHOWN = 16


class RunView:
    """Shows one run. Use as a context manager, which ends the progress.

    It keeps the counts of `log` up to date, with which the log ends.
    """

    def __init__(self, job: Job, interpreter: Interpreter, log: Log) -> None:
        self._job = job
        self._interpreter = interpreter
        self._log = log
        self._out = console.output(stderr=job.output == STDOUT)
        self._display = console.Display(log)
        self._skipped: list[dict[str, Any]] = []
        self._facts: dict[str, Any] = {}
        self._cpus = 1
        self._before = 0
        """How many tasks earlier runs of the job have done."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._display.close()

    def on_event(self, event: dict[str, Any]) -> None:
        """Show one event of the job."""
        display = self._display
        match event["event"]:
            case "hello":
                self._facts, self._cpus = event["facts"], event["cpus"]
                display.message(self._banner())
                self._count(0, 0)
            case "skipped":
                self._skip(event)
            case "resumed":
                display.message(_resumed(event))
                if event["changed"]:
                    modules = ", ".join(event["changed"])
                    display.warn(f"the workload's code has changed since the last run: {modules}")
                self._before = event["tasks"]
                self._count(event["tasks"], event["failed"])
            case "progress":
                self._count(event["tasks"], event["failed"])
            case "interrupting":
                display.warn("finishing the batches in flight; press Ctrl-C again to end at once")

    def _skip(self, event: dict[str, Any]) -> None:
        if len(self._skipped) == KEPT:
            return
        self._skipped.append(event)
        if len(self._skipped) <= SKIPPED_SHOWN:
            self._display.warn(f"skipped {event['file']}:{event['line']}: {event['cause']}")
        elif len(self._skipped) == SKIPPED_SHOWN + 1:
            more = f"the report counts them, and --json has the first {KEPT}"
            self._display.warn(f"skipped more broken records: {more}")

    def _count(self, tasks: int, failed: int) -> None:
        if self._facts:  # otherwise the job was refused, and nothing was run
            self._log.counts = {"tasks": tasks, "failed": failed, "set_aside": None}
            self._display.count("running the job", tasks, failed, self._job.generate, self._before)

    def done(self, report: Mapping[str, Any]) -> None:
        """Take the counts from the report of the job, which may be followed by a sequential run."""
        self._log.counts = {name: report[name] for name in ("tasks", "failed", "set_aside")}

    def on_baseline_event(self, event: dict[str, Any]) -> None:
        """Show one event of the sequential run: progress only, the rest was shown before."""
        if event["event"] == "progress":
            step = "running sequentially, to measure the speed-up"
            self._display.count(step, event["tasks"], event["failed"], self._job.generate)
        elif event["event"] == "interrupting":
            self.on_event(event)

    def no_baseline(self, error: TodobatchError) -> None:
        """Show why there is no speed-up."""
        self._display.warn(f"the sequential run, for the speed-up, failed: {error}")

    def report(self, report: dict[str, Any], *, as_json: bool) -> None:
        """Print the result of the run."""
        self._display.close()
        if as_json:
            self._out.file.write(json.dumps(self._document(report)) + "\n")
        else:
            self._workers(report)
            self._totals(report)
        if not as_json or self._log.as_json:
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
        """Print a line for each worker. With a journal, counts are those of all runs.

        If workers were replaced, these are the ones with the most tasks, and the others are summed.
        """
        rows = _worker_rows(report)
        stole = any(each["steals"] for each in rows)
        parked = any(each["parkings"] for each in rows)
        names = ["worker", "batches", "tasks", "busy", "idle", "efficiency"]
        names += ["steals"] * stole + ["parked"] * parked + ["ran on CPUs"]
        table = console.table(
            names, drop=("ran on CPUs", "parked", "batches", "steals", "idle", "busy")
        )
        most = max(self._job.workers, 1)
        if len(rows) > most:
            rows.sort(key=lambda each: -each["tasks"])
            rows = [*sorted(rows[:most], key=lambda each: each["worker"]), _sum_of(rows[most:])]
        for each in rows:
            known = each["idle_s"] is not None  # otherwise it is a worker of an earlier run
            cells = [each["worker"], f"{each['batches']}", f"{each['tasks']}"]
            cells.append("" if each["busy_s"] is None else show_seconds(each["busy_s"]))
            cells.append(show_seconds(each["idle_s"]) if known else "")
            cells.append("" if each["efficiency"] is None else show_percent(each["efficiency"]))
            if stole:
                cells.append(str(each["steals"]) if known else "")
            if parked:
                cells.append(show_seconds(each["parked_s"]) if each["parkings"] else "")
            cells.append(each["cpus"])
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
            )
            if report["resumed_tasks"] < report["tasks"]
            else f"time      {show_seconds(wall)} in the run that finished the job",
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
        """Show the failed tasks, those of one cause together."""
        named = {each["task"]: each for each in report["failures"]}
        left, lines = report["failed"], 0
        for cause in report["causes"]:
            frame = cause["frame"] or dict.fromkeys(("file", "line", "function"))
            facts = {"failed": cause["count"], "tasks": cause["tasks"], "error": cause["error"]}
            shown = [named[task] for task in cause["tasks"] if task in named]
            single = cause["count"] == len(shown) <= NAMED_SINGLY and not self._log.as_json
            texts = [_failed_task(each) for each in shown] if single else [_failed_tasks(cause)]
            if lines + len(texts) > FAILURES_SHOWN:
                break
            for text in texts:
                self._display.fail(text, **facts, **frame)
            left, lines = left - cause["count"], lines + len(texts)
        if left > 0:
            more = show_count(left, "more failed task")
            self._display.warn(f"and {more}; --json has the first 100, --output has all")

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


def _resumed(event: dict[str, Any]) -> str:
    """Return what a journal says when the job begins."""
    if event["finished"]:
        return f"nothing to do: all {event['tasks']} tasks of the journal are done"
    again = show_count(event["retried"], "failed task")
    return (
        f"resuming the job from its journal: {event['tasks']} tasks are done"
        + (f", {again} run again" if event["retried"] else "")
        + f" (this is run {event['runs']}; due dates are compared with {event['today']})"
    )


def _failed_task(failure: dict[str, Any]) -> str:
    return f"failed task {failure['task']} {failure['title']!r}: {_error(failure)}"


def _failed_tasks(cause: dict[str, Any]) -> str:
    """Return a line for all tasks that failed for one cause; it has the error of the first."""
    tasks = ", ".join(map(str, cause["tasks"]))
    more = ", …" if cause["count"] > len(cause["tasks"]) else ""
    return f"failed {show_count(cause['count'], 'task')} ({tasks}{more}): {_error(cause)}"


def _error(failure: dict[str, Any]) -> str:
    """Return the error of a failure, with the line of the user's code that raised it."""
    if (frame := failure["frame"]) is None:
        return str(failure["error"])
    file = frame["file"]
    if file.startswith(here := f"{Path.cwd()}{os.sep}"):
        file = file.removeprefix(here)
    return f"{failure['error']} ({file}:{frame['line']}, in {frame['function']})"


def _worker_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the table shows of each worker. What is not known is None, or 0 if counted."""
    totals = {each["worker"]: each for each in report["worker_totals"]}
    stats = {each["worker"]: each for each in report["worker_stats"]}
    rows = []
    for name in sorted(totals.keys() | stats.keys()):
        total, its = totals.get(name), stats.get(name)
        row = dict.fromkeys(("busy_s", "idle_s", "efficiency"), None) | {
            "worker": name, "batches": 0, "tasks": 0, "steals": 0, "parkings": 0, "parked_s": 0.0,
            "cpus": "",
        }  # fmt: skip
        if total is not None:
            row |= {key: total[key] for key in ("batches", "tasks", "busy_s")}
            row["cpus"] = " ".join(map(str, total["cpus"])) or "unknown"
        if its is not None:
            row |= its
        rows.append(row)
    return rows


def _sum_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row for several workers."""
    row: dict[str, Any] = {
        key: sum(each[key] or 0 for each in rows)
        for key in ("batches", "tasks", "busy_s", "idle_s", "steals", "parkings", "parked_s")
    }
    wall = row["busy_s"] + row["idle_s"] + row["parked_s"]
    row["efficiency"] = row["busy_s"] / wall if wall else None
    return row | {"worker": f"{len(rows)} more", "cpus": ""}


def _more(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that only some runs have."""
    if report["resizes"]:
        yield f"workers   {_sizes([each['size'] for each in report['resizes']])}"
    if report["left_out"]:
        named = ", ".join(f"{count} × {what}" for what, count in report["left_out"].items())
        yield f"left out  {named}"
    if report["output"]:
        to = "standard output" if report["output"] == STDOUT else report["output"]
        yield f"output    {to}"
    if costs := report["costs"]:
        measured = show_count(costs["measured"], "batch", "batches")
        yield (
            f"costs     {costs['file']}: {measured} measured, "
            f"{costs['before']} known before{', not saved' if costs['error'] else ''}"
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
        replaced, overran = report["replaced"], report["overran"]
        why = {"crashed": replaced - overran, "overran the deadline": overran}
        named = ", ".join(f"{count:,} {what}" for what, count in why.items() if count)
        yield (
            f"faults    {show_count(replaced, 'worker')} replaced{f' ({named})' if named else ''}, "
            f"{report['retried']:,} retries of batches or parts of them, "
            f"{show_count(report['set_aside'], 'task')} set aside"
        )
    if report["journal"]:
        before = report["resumed_tasks"]
        yield (
            f"journal   {report['journal']}: {before} tasks done before, "
            f"{report['tasks'] - before} in this run (run {report['runs']})"
        )
        if report["code_versions"] > 1:
            versions = report["code_versions"]
            yield f"code      the job has run with {versions} versions of the workload's code"
        if report["failed"]:
            failed = show_count(report["failed"], "failed task")
            yield f"failed    --retry-failed runs the {failed} again"
    if report["interrupted"]:
        yield "interrupted by Ctrl-C or SIGTERM"


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
