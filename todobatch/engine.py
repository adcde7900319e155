"""Runs one job in this process and reports on it: what `todobatch run` starts in each interpreter.

    parent ── the job, one line of JSON ──► standard input
    parent ◄── events, a line of JSON each ── the file descriptor that is the first argument

Standard input stays open as long as the parent lives; when it ends, so does this process with all
its workers. A first SIGINT stops handing out batches and lets those under way finish; a second one
ends it at once. Standard output and error stay free for what the user's own code prints.

Events: `hello` (this interpreter), `skipped` (a broken record), `progress`, and last
`report` or `error`.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, TypedDict

from todobatch import probe, runtime
from todobatch.coordinator import batched, run_batches
from todobatch.errors import (
    EXIT_BUG,
    BrokenLineError,
    EmptyInputError,
    StoreError,
    TodobatchError,
    UsageError,
)
from todobatch.executors import get
from todobatch.model import Batch, ProcessingResult, Task, describe_exception
from todobatch.processors import resolve
from todobatch.sources import Source, generate, open_source
from todobatch.units import Seconds

STDIN = 0
PROGRESS_EVERY_S: Seconds = 0.1


class Job(TypedDict):
    """What to run. Exactly one of `input` and `generate` is not None."""

    input: str | None
    format: str | None
    generate: int | None
    seed: int
    workload: str
    executor: str
    workers: int
    batch_size: int
    today: str
    strict: bool
    output: str | None


class Engine:
    """One job, from its description to its last event. Used by one thread but for `_skip`.

    `_send_lock` guards the events: broken records are met by whichever worker reads the input.
    """

    def __init__(self, job: Job, events: int) -> None:
        self._job = job
        self._events = os.fdopen(events, "w", encoding="utf-8")
        self._send_lock = threading.Lock()
        self._stopping = False
        self._skipped = 0
        self._told = 0.0
        self._done = self._failed = 0
        self._source: Source | None = None
        self._titles: dict[int, tuple[int, tuple[str, ...]]] = {}

    def run(self) -> int:
        """Run the job and give the exit code."""
        facts = runtime.facts()
        self._send("hello", facts=facts, cpus=runtime.cpus_available())
        signal.signal(signal.SIGINT, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the parent blocked it
        try:
            self._send("report", **self._report(gil_at_start=facts["gil_enabled"]))
        except TodobatchError as error:
            return self._fail(error)
        except KeyboardInterrupt:
            return self._fail(TodobatchError("interrupted"), code=130)
        except Exception as error:
            traceback.print_exc()
            bug = TodobatchError(
                f"unexpected {describe_exception(error)}",
                place="todobatch",
                remedy="this is a bug: please report it with the trace above",
            )
            return self._fail(bug, code=EXIT_BUG)
        return 0

    def _report(self, *, gil_at_start: bool) -> dict[str, Any]:
        job = self._job
        executor = get(job["executor"])
        executor.check(job["workers"])
        processor = resolve(job["workload"], today=dt.date.fromisoformat(job["today"]))
        output = None if job["output"] is None else _output(job["output"], job["input"])
        measured: dict[str, Any] = {}

        def ready() -> None:
            measured["cpu"] = probe.tree_cpu_seconds()

        def done() -> None:
            measured["cpu"] = probe.tree_cpu_seconds() - measured["cpu"]
            measured["peak"] = probe.tree_peak()

        def take(result: ProcessingResult) -> None:
            if output is not None:
                first, titles = self._titles.pop(result.batch)
                output.write(result, first, titles)
            self._progress(result)

        try:
            report = run_batches(
                self._batches(remember=output is not None),
                processor,
                executor=executor,
                workers=job["workers"],
                keep_rows=output is not None,
                on_result=take,
                on_ready=ready,
                on_done=done,
                stop=lambda: self._stopping,
            )
        except BaseException:
            if output is not None:
                output.keep_part()
            raise
        empty = report.tasks == 0 and not report.interrupted
        if output is not None:
            output.finish(complete=not report.interrupted and not empty)
        if empty:
            raise EmptyInputError(
                f"there is no task in it ({self._skipped} broken records)"
                if self._skipped
                else "there is no task in it",
                place=str(job["input"] or "--generate"),
                remedy="give a file with at least one task, or name its format with --format",
            )
        gil_now = runtime.gil_enabled() or any(w.gil_after for w in report.worker_totals)
        return {
            "executor": report.executor,
            "workers": report.workers,
            "gil_enabled": gil_now,
            "gil_came_back": gil_now and not gil_at_start,
            "tasks": report.tasks,
            "failed": report.failed,
            "skipped": self._skipped,
            "left_out": dict(self._source.skipped) if self._source else {},
            "wall_s": report.wall_s,
            "cpu_s": measured["cpu"],
            "peak_bytes": measured["peak"][0],
            "peak_method": measured["peak"][1],
            "pool_start_s": report.pool_start_s,
            "digest": report.digest,
            "batches": report.batches,
            "failed_batches": report.failed_batches,
            "failures": [asdict(failure) for failure in report.failures],
            "errors": list(report.errors),
            "worker_totals": [asdict(worker) for worker in report.worker_totals],
            "result": dict(report.result),
            "interrupted": report.interrupted or self._stopping,
            "output": None if output is None else str(output.path),
        }

    def _batches(self, *, remember: bool) -> Iterator[Batch]:
        """The input's batches; with `remember`, the titles of those under way are kept."""
        for batch in batched(self._tasks(), self._job["batch_size"]):
            if remember:
                self._titles[batch.index] = (batch.first, tuple(t.title for t in batch.tasks))
            yield batch

    def _tasks(self) -> Iterator[Task]:
        job = self._job
        today = dt.date.fromisoformat(job["today"])
        if job["input"] is None:
            assert job["generate"] is not None
            return generate(job["generate"], seed=job["seed"], today=today)
        self._source = open_source(Path(job["input"]), format=job["format"], today=today)
        return self._source.read(self._skip)

    def _skip(self, broken: BrokenLineError) -> None:
        if self._job["strict"]:
            raise broken
        self._skipped += 1
        self._send("skipped", file=broken.file, line=broken.line, cause=broken.cause)

    def _progress(self, result: ProcessingResult) -> None:
        self._done += result.tasks
        self._failed += result.tasks - result.tasks_processed
        now = perf_counter()
        if now - self._told >= PROGRESS_EVERY_S:
            self._told = now
            self._send("progress", tasks=self._done, failed=self._failed)

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = True

    def _fail(self, error: TodobatchError, *, code: int | None = None) -> int:
        code = error.exit_code if code is None else code
        self._send(
            "error",
            kind=type(error).__name__,
            cause=error.cause,
            place=error.place,
            remedy=error.remedy,
            exit_code=code,
        )
        return code

    def _send(self, event: str, **fields: Any) -> None:
        with self._send_lock:
            self._events.write(json.dumps({"event": event, **fields}) + "\n")
            self._events.flush()


def _output(name: str, source: str | None) -> "_Output":
    """Where rows go. Raises UsageError for what would destroy something, StoreError."""
    path = Path(name).resolve()  # a link is followed, not replaced
    if not name or path.is_dir():
        raise UsageError("it is a folder", place=f"--output {name}", remedy="name a file in it")
    if source is not None and Path(source).exists() and path == Path(source).resolve():
        raise UsageError(
            "it is the input itself", place=f"--output {name}", remedy="name another file"
        )
    return _Output(path)


class _Output:
    """Rows as JSON Lines, in the order in which batches finish; moved into place when complete.

    Until then they are in ``<path>.part``, so that an earlier complete file is never half replaced.
    What is no regular file (a device, a pipe) is written to as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        plain = path.is_file() or not path.exists()
        self._part = path.with_name(path.name + ".part") if plain else path
        self._rows = 0
        try:
            self._file = self._part.open("w", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror}",
                place=str(path),
                remedy="name a file in a folder that exists and is yours with --output",
            ) from error

    def write(self, result: ProcessingResult, first: int, titles: tuple[str, ...]) -> None:
        """One line a task: its position, title and row, or its error."""
        errors = {failure.task: failure.error for failure in result.failures}
        rows = result.rows or (None,) * len(titles)
        lines = []
        for task, (title, row) in enumerate(zip(titles, rows, strict=True), start=first):
            line: dict[str, Any] = {"task": task, "title": title}
            if result.rows is None:
                line["error"] = result.error
            elif task in errors:
                line["error"] = errors[task]
            else:
                line["result"] = row
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        try:
            self._file.writelines(lines)
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        self._rows += len(lines)

    def keep_part(self) -> None:
        """Close what there is after a failure; it stays in the .part file."""
        try:
            self._file.close()
        except OSError as error:
            print(f"todobatch: {self._part}: {error.strerror}", file=sys.stderr)

    def finish(self, *, complete: bool) -> None:
        """Flush to disk and, when complete, move it into place."""
        try:
            self._file.flush()
            if self._part != self.path:
                os.fsync(self._file.fileno())
            self._file.close()
            if complete and self._part != self.path:
                self._part.replace(self.path)
            else:
                self.path = self._part
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot be written: {error.strerror}; {self._rows} tasks are saved",
            place=str(self._part),
            remedy="make room or name another place with --output, and run again",
        )


def _end_with_parent() -> None:
    """End this process group when the parent is gone, however it went."""

    def watch() -> None:
        while os.read(STDIN, 4096):  # not through sys.stdin: its lock would be held at shutdown
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgid(0) == os.getpid():  # only a group of our own may be ended
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> int:
    """``python -m todobatch.engine EVENTS_FD < job.json-line``"""
    with open(STDIN, "rb", buffering=0, closefd=False) as stdin:
        job: Job = json.loads(stdin.readline())
    _end_with_parent()
    return Engine(job, int(sys.argv[1])).run()


if __name__ == "__main__":
    sys.exit(main())
