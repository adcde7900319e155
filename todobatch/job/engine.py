"""Runs one job in this process, which `todobatch run` starts with the job's interpreter.

The parent (`todobatch.job.client`) sends the job and gets events. When the parent ends, this
process and all its workers end too. After the first SIGINT or a SIGTERM no further batch is sent,
and those in flight finish. The second SIGINT ends the process at once. The user's code owns
standard output and error.

Events: `hello` (this interpreter), `resumed`, `skipped` (a broken record), `progress`, and at the
end `report` or `error`. With a watchdog, `alive` is sent at intervals while batches run, and then
`unwatched`. A batch that holds the GIL stops every thread here, so only the parent can notice it.
"""

import datetime as dt
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any

from todobatch import runtime
from todobatch.coordinator.drive import run_batches, workers_left
from todobatch.coordinator.options import Hooks
from todobatch.coordinator.recovery import Feed
from todobatch.coordinator.watchdog import list_in_flight
from todobatch.errors import (
    EXIT_INTERRUPTED,
    BrokenLineError,
    EmptyInputError,
    TodobatchError,
    UsageError,
)
from todobatch.executors import Elastic, Executor, get
from todobatch.ipc.decoding import from_json, to_json
from todobatch.ipc.parent_process import ParentProcess
from todobatch.job.files import open_costs, open_journal, read_finished
from todobatch.job.heartbeat import Heartbeat
from todobatch.job.output import RowFile, open_rows
from todobatch.job.spec import STDOUT, CostsUsed, Job, JobReport
from todobatch.job.unexpected import unexpected
from todobatch.job.usage import Usage
from todobatch.model import (
    MAX_FAILURES_KEPT,
    Batch,
    BatchReport,
    ProcessingResult,
    Task,
    describe_exception,
)
from todobatch.processors import TaskBatchProcessor, resolve
from todobatch.sources import Source, generate, open_source
from todobatch.units import Seconds, show_count

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.journal import Journal

PROGRESS_EVERY_S: Seconds = 0.1


class Engine:
    """One job, from its description to its last event.

    One thread uses it. Others only send: the worker that reads the input, for broken records,
    `Heartbeat`, and the one that drives the executor, for progress. This one replaces `_in_parts`.
    """

    def __init__(self, job: Job, parent: ParentProcess) -> None:
        self._job = job
        self._descriptors = parent.descriptors
        self._retried = 0
        """How many failed tasks of earlier runs are run again."""
        self._today = job.today
        """The journal's date, when the job is resumed."""
        self._send = parent.send
        self._stopping = self._interrupted = False
        self._skipped = 0
        self._records: list[dict[str, Any]] = []
        """The first broken records, as the events that were sent."""
        self._progress_at = 0.0
        self._done = self._failed = 0
        self._in_parts = 0, 0
        """Tasks of incomplete batches that have come back, and how many of these failed."""
        self._shown = 0
        self._source: Source | None = None
        self._rows: RowFile | None = None
        self._journal: Journal | None = None
        self._costs: Costs | None = None
        self._usage = Usage()
        self.workers_left = False
        """Whether workers may hang, so that nobody must wait for them at the end."""

    def run(self) -> int:
        """Run the job and return the exit code."""
        gil_at_start = runtime.gil_enabled()
        signal.signal(signal.SIGINT, self._interrupt)
        signal.signal(signal.SIGTERM, self._interrupt)
        # A child that a task forks ends at SIGTERM, as that of a plain program.
        os.register_at_fork(after_in_child=_end_at_sigterm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by the parent
        try:
            with (
                open_journal(self._job) or nullcontext() as self._journal,
                open_costs(self._job) or nullcontext() as self._costs,
            ):
                report = self._report(gil_at_start=gil_at_start)
            self._send("report", report=to_json(report))
        except TodobatchError as error:
            self.workers_left = workers_left()
            return self._fail(error)
        except KeyboardInterrupt:
            self.workers_left = True
            return self._fail(TodobatchError("interrupted"), code=EXIT_INTERRUPTED)
        except (Exception, SystemExit) as error:
            ours, code = unexpected(error)
            traceback.print_exc()
            return self._fail(ours, code=code)
        return 0

    def _report(self, *, gil_at_start: bool) -> JobReport:
        job, journal = self._job, self._journal
        executor = _executor(job)
        if journal is not None:
            self._today = dt.date.fromisoformat(journal.job["today"])
        processor = resolve(job.workload, today=self._today)
        if job.output is not None:
            self._rows = open_rows(
                job.output, job.input, journal, force=job.force,
                descriptor=self._descriptors[0] if job.output == STDOUT else None,
            )  # fmt: skip
        if journal is not None:
            journal.mark_output = None if self._rows is None else self._rows.mark
            totals = journal.tally or {}
            self._done, self._failed = totals.get("tasks", 0), totals.get("failed", 0)
            if job.recovery.retry_failed and self._failed:
                self._retry(journal)
                self._done, self._failed = (journal.tally or {}).get("tasks", 0), 0
            elif (earlier := self._finished(journal)) is not None:
                return earlier
        report = self._process(processor, executor)
        self._place(report)
        _check_json(report.result, processor.processor_id)
        whole = self._job_report(report, executor, gil_at_start=gil_at_start)
        if journal is not None and not report.interrupted:
            journal.finish({"report": to_json(whole), "skipped": self._records})
            if self._rows is not None:
                self._rows.tidy()
        return whole

    def _retry(self, journal: "Journal") -> None:
        """Have the failed tasks of earlier runs run again."""
        if self._rows is not None and journal.retriable:
            self._rows.begin_retry()
        self._retried = journal.retry_failed()

    def _finished(self, journal: "Journal") -> JobReport | None:
        """Return the report of a job that is complete, without running anything; else None."""
        if journal.phase != "finished" or journal.report is None:
            return None
        self._greet()
        report, records = read_finished(journal)
        for record in records:
            self._send("skipped", **record)
        if self._rows is not None:
            self._rows.finish(complete=True)
            self._rows.tidy()
        output = None if self._rows is None else str(self._rows.path)
        return replace(
            report, resumed_tasks=report.tasks, runs=journal.runs, output=output, journal_s=0.0,
            journal=str(journal.path), costs=report.costs and replace(report.costs, error=None),
        )  # fmt: skip

    def _process(self, processor: TaskBatchProcessor, executor: Executor) -> BatchReport:
        """Run all batches. If that fails, the rows stay in the `.part` file."""
        job, rows = self._job, self._rows

        def note(batch: Batch, result: ProcessingResult) -> None:
            if rows is not None:
                rows.write(batch, result)
            self._progress(result)

        def begin(feed: Feed) -> None:
            self._greet()
            if job.recovery.watchdog_s is not None:
                heartbeat.begin(feed)

        heartbeat = Heartbeat(self._alive)
        try:
            return run_batches(
                self._tasks(),
                processor,
                executor=executor,
                workers=job.workers,
                batch_size=job.batch_size,
                keep_rows=rows is not None or self._journal is not None,
                recovery=job.recovery,
                hooks=Hooks(
                    on_batch=note,
                    on_part=self._part,
                    on_feed=begin,
                    on_ready=self._usage.start,
                    on_done=self._usage.end,
                    stop=lambda: self._stopping,
                ),
                journal=self._journal,
                order=job.order,
                costs=self._costs,
            )
        except BaseException:
            if rows is not None:
                rows.keep_part()
            raise
        finally:
            if heartbeat.end():
                self._send("unwatched")

    def _greet(self) -> None:
        """Say which interpreter begins the job, once all arguments have been accepted."""
        self._send("hello", facts=runtime.facts(), cpus=runtime.cpus_available())
        if (journal := self._journal) is not None and journal.runs > 1:
            self._send(
                "resumed", tasks=journal.saved_tasks + journal.failed.kept_tasks,
                failed=self._failed, retried=self._retried, changed=journal.changed_code,
                finished=journal.phase == "finished", runs=journal.runs,
                today=self._today.isoformat(),
            )  # fmt: skip

    def _place(self, report: BatchReport) -> None:
        """Move the output into place. Raises EmptyInputError when the input had no task."""
        rows, journal = self._rows, self._journal
        empty = report.tasks == 0 and not report.interrupted
        complete = not report.interrupted and not empty
        if journal is not None and complete and rows is not None and journal.unfinished:
            journal.advance("placing")  # from here on the output may have its final name
        if rows is not None:
            rows.finish(complete=complete)
        if empty:
            broken = f" ({show_count(self._skipped, 'broken record')})" if self._skipped else ""
            raise EmptyInputError(
                f"the input contains no task{broken}",
                place=self._source.file if self._source else "`generate`",
                remedy="give a file with at least one task"
                + ("" if self._job.format else ", or name its `format`"),
            )

    def _job_report(
        self, report: BatchReport, executor: Executor, *, gil_at_start: bool
    ) -> JobReport:
        journal, costs = self._journal, self._costs
        gil_now = runtime.gil_enabled() or any(w.gil_after for w in report.worker_totals)
        whole: dict[str, Any] = {each.name: getattr(report, each.name) for each in fields(report)}
        whole["interrupted"] = report.interrupted or self._stopping
        return JobReport(
            **whole,
            least_workers=executor.least if isinstance(executor, Elastic) else None,
            gil_enabled=gil_now,
            gil_came_back=gil_now and not gil_at_start,
            skipped=self._skipped,
            left_out=dict(self._source.skipped) if self._source else {},
            **self._usage.fields(),
            output=None if self._rows is None else str(self._rows.path),
            order=self._job.order,
            costs=None if costs is None else _saved(costs),
            journal=None if journal is None else str(journal.path),
            runs=1 if journal is None else journal.runs,
            journal_s=0.0 if journal is None else journal.save_s,
            code_versions=1 if journal is None else journal.codes,
        )

    def _tasks(self) -> Iterator[Task]:
        job = self._job
        if job.input is None:
            assert job.generate is not None
            return generate(job.generate, seed=job.seed, today=self._today)
        self._source = open_source(
            Path(job.input), format=job.format, today=self._today, name=job.input_name
        )
        if self._stopping:  # the signal came before there was a source
            self._source.stop()
        return self._source.read(self._skip)

    def _skip(self, broken: BrokenLineError) -> None:
        if self._stopping:  # it may only be cut short
            return
        if self._job.strict:
            raise broken
        self._skipped += 1
        record = {"file": broken.file, "line": broken.line, "cause": broken.cause}
        if len(self._records) < MAX_FAILURES_KEPT:
            self._records.append(record)
        self._send("skipped", **record)

    def _progress(self, result: ProcessingResult) -> None:
        self._done += result.tasks
        self._failed += result.tasks - result.tasks_processed
        self._send_progress()

    def _part(self, tasks: int, failed: int) -> None:
        self._in_parts = tasks, failed
        self._send_progress()

    def _send_progress(self) -> None:
        """Report how many tasks are done, now and then, and never fewer than before.

        A batch that is complete counts in neither sum until it is recorded.
        """
        now = perf_counter()
        tasks, failed = self._in_parts
        if now - self._progress_at >= PROGRESS_EVERY_S and self._done + tasks >= self._shown:
            self._progress_at, self._shown = now, self._done + tasks
            self._send("progress", tasks=self._shown, failed=self._failed + failed)

    def _alive(self, feed: Feed) -> None:
        self._send("alive", tasks=self._done, in_flight=list_in_flight(feed))

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        # A service manager may send SIGTERM to the parent and to this process. So the parent, which
        # passes both signals on as SIGINT, decides which is the second one.
        del frame
        if self._interrupted and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._interrupted = self._interrupted or signum == signal.SIGINT
        self._stopping = True
        if self._source is not None:
            self._source.stop()

    def _fail(self, error: TodobatchError, *, code: int | None = None) -> int:
        code = error.exit_code if code is None else code
        self._send("progress", tasks=self._done, failed=self._failed)  # the latest counts
        self._send(
            "error",
            kind=type(error).__name__,
            cause=error.cause,
            place=error.place,
            remedy=error.remedy,
            exit_code=code,
        )
        return code


def _end_at_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _executor(job: Job) -> Executor:
    """Return the job's executor. Raises UsageError or ExecutorUnavailableError if it cannot run."""
    executor = get(job.executor)
    if isinstance(executor, Elastic):
        executor = Elastic(job.least_workers or executor.least)
    executor = executor.placed(job.placement)
    executor.check(job.workers, job.recovery.deadline_s)
    return executor


def _saved(costs: "Costs") -> CostsUsed:
    """Save the costs; if that fails the job is done all the same, so its report says why."""
    error = costs.save_early()
    return CostsUsed(
        file=str(costs.path), before=costs.before, measured=costs.measured,
        error=None if error is None else error.cause,
    )  # fmt: skip


def _check_json(result: Mapping[str, Any], processor_id: str) -> None:
    """Raise UsageError for an aggregate that is not JSON."""
    try:
        json.dumps(dict(result), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"its aggregate is not JSON: {describe_exception(error)}",
            place=f"processor {processor_id}",
            remedy="return dictionaries with strings as keys, lists, numbers and strings; the "
            "tasks are done, and their rows are in the `output` if there is one",
        ) from error


def main() -> int:
    """Run the job that the parent sends: ``python -m todobatch.job.engine CONTROL EVENTS``."""
    parent = ParentProcess.from_arguments()
    job = from_json(Job, parent.receive())
    parent.end_with_parent()
    engine = Engine(job, parent)
    code = engine.run()
    if engine.workers_left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a normal exit would wait for workers that hang
    return code


if __name__ == "__main__":
    sys.exit(main())
