"""Runs one job in this process and reports on it: what `todobatch run` starts in each interpreter.

    parent ── the job, one line of JSON ──► standard input
    parent ◄── events, a line of JSON each ── the file descriptor that is the first argument

Standard input stays open as long as the parent lives; when it ends, so does this process with all
its workers. A first SIGINT stops handing out batches and lets those under way finish; a second one
ends it at once. Standard output and error stay free for what the user's own code prints.

Events: `hello` (this interpreter), `skipped` (a broken record), `progress`, and last
`report` or `error`. With a watchdog also `alive`, again and again as long as batches run, and
`unwatched` when they are through: a batch that holds the GIL lets no thread here run, the watchdog
neither, so that only the parent can notice.
"""

import datetime as dt
import fcntl
import hashlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, sleep
from types import FrameType
from typing import IO, TYPE_CHECKING, Any, NotRequired, TypedDict

from todobatch import probe, runtime
from todobatch.coordinator.drive import Order, batched, run_batches, still_out, workers_left
from todobatch.coordinator.recovery import Feed
from todobatch.errors import (
    EXIT_BUG,
    BrokenLineError,
    EmptyInputError,
    StoreError,
    TodobatchError,
    UnavailableError,
    UsageError,
)
from todobatch.executors import Elastic, get
from todobatch.executors.base import Placement
from todobatch.model import Batch, Json, ProcessingResult, Task, describe_exception
from todobatch.processors import resolve
from todobatch.sources import Source, generate, open_source
from todobatch.units import Seconds

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.journal import Journal

STDIN = 0
PROGRESS_EVERY_S: Seconds = 0.1
ALIVE_EVERY_S: Seconds = 0.5
WAIT_FOR_LOCK_S: Seconds = 3.0
"""A run that was just killed may take a moment to let its output go."""
LOCK_POLL_S: Seconds = 0.05
TAIL_BYTES = 4096
"""So much of the output's end is known to the journal by its digest, to tell another file."""


class Job(TypedDict):
    """What to run. Exactly one of `input` and `generate` is not None."""

    input: str | None
    format: str | None
    generate: int | None
    seed: int
    workload: str
    executor: str
    workers: int
    """How many; with `least_workers` at most so many."""
    batch_size: int
    cut: NotRequired[bool]
    today: str
    strict: bool
    output: str | None
    deadline_s: NotRequired[Seconds | None]
    retries: NotRequired[int]
    backoff_s: NotRequired[Seconds]
    retry_failed: NotRequired[bool]
    watchdog_s: NotRequired[Seconds | None]
    journal: NotRequired[str | None]
    order: NotRequired[Order]
    placement: NotRequired[Placement]
    least_workers: NotRequired[int | None]
    """With the executor `elastic`: how many work at least."""
    costs: NotRequired[str | None]


class Engine:
    """One job, from its description to its last event. Used by one thread but for `_skip`.

    `_send_lock` guards the events: broken records are met by whichever worker reads the input, and
    `_alive` runs in a thread of its own.
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
        self.workers_left = False
        """Whether workers may hang still: then nobody must wait for them at the end."""

    def run(self) -> int:
        """Run the job and give the exit code."""
        facts = runtime.facts()
        self._send("hello", facts=facts, cpus=runtime.cpus_available())
        signal.signal(signal.SIGINT, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # the parent blocked it
        try:
            self._send("report", **self._report(gil_at_start=facts["gil_enabled"]))
        except TodobatchError as error:
            self.workers_left = workers_left()
            return self._fail(error)
        except KeyboardInterrupt:
            self.workers_left = True
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
        with (
            _journal(self._job) or nullcontext() as journal,
            _costs(self._job) or nullcontext() as costs,
        ):
            return self._report_with(journal, costs, gil_at_start=gil_at_start)

    def _report_with(
        self, journal: "Journal | None", costs: "Costs | None", *, gil_at_start: bool
    ) -> dict[str, Any]:
        job = self._job
        executor = get(job["executor"])
        if isinstance(executor, Elastic):
            executor = Elastic(job.get("least_workers") or executor.least)
        executor = executor.placed(job.get("placement", "none"))
        executor.check(job["workers"], job.get("deadline_s"))
        if journal is not None:
            job["today"] = journal.job["today"]  # it goes on with the day that it began on
        processor = resolve(job["workload"], today=dt.date.fromisoformat(job["today"]))
        output = None if job["output"] is None else _output(job["output"], job["input"], journal)
        if journal is not None:
            journal.mark_output = None if output is None else output.mark
            self._done = (journal.tally or {}).get("tasks", 0)
            if journal.runs > 1:
                self._send("resumed", tasks=self._done, runs=journal.runs, today=job["today"])
        measured: dict[str, Any] = {}

        def ready() -> None:
            measured["cpu"] = probe.tree_cpu_seconds()

        def done() -> None:
            measured["cpu"] = probe.tree_cpu_seconds() - measured["cpu"]
            measured["peak"] = probe.tree_peak()

        def take(batch: Batch, result: ProcessingResult) -> None:
            if output is not None:
                output.write(batch, result)
            self._progress(result)

        heart = _Heart(self._alive)
        try:
            report = run_batches(
                batched(self._tasks(), job["batch_size"]),
                processor,
                executor=executor,
                workers=job["workers"],
                cut=job.get("cut", False),
                keep_rows=output is not None,
                on_batch=take,
                on_feed=heart.begin if job.get("watchdog_s") is not None else None,
                on_ready=ready,
                on_done=done,
                stop=lambda: self._stopping,
                deadline_s=job.get("deadline_s"),
                retries=job.get("retries", 2),
                backoff_s=job.get("backoff_s", 0.05),
                retry_failed=job.get("retry_failed", False),
                watchdog_s=job.get("watchdog_s"),
                journal=journal,
                order=job.get("order", "input"),
                costs=costs,
            )
        except BaseException:
            if output is not None:
                output.keep_part()
            raise
        finally:
            if heart.end():
                self._send("unwatched")
        empty = report.tasks == 0 and not report.interrupted
        complete = not report.interrupted and not empty
        if journal is not None and complete and output is not None and journal.phase == "running":
            journal.advance("placing")  # from here on the rows may be under their last name
        if output is not None:
            output.finish(complete=complete)
        if journal is not None and complete:
            journal.advance("finished")
        if empty:
            raise EmptyInputError(
                f"there is no task in it ({self._skipped} broken records)"
                if self._skipped
                else "there is no task in it",
                place=str(job["input"] or "--generate"),
                remedy="give a file with at least one task, or name its format with --format",
            )
        _check_json(report.result, processor.processor_id)
        gil_now = runtime.gil_enabled() or any(w.gil_after for w in report.worker_totals)
        return {
            "executor": report.executor,
            "workers": report.workers,
            "least_workers": executor.least if isinstance(executor, Elastic) else None,
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
            "retried": report.retried,
            "replaced": report.replaced,
            "set_aside": report.set_aside,
            "set_aside_tasks": [asdict(failure) for failure in report.set_aside_tasks],
            "order": job.get("order", "input"),
            "costs": None
            if costs is None
            else {"file": str(costs.path), "before": costs.before, "measured": costs.measured},
            "journal": None if journal is None else str(journal.path),
            "resumed_tasks": report.resumed_tasks,
            "worker_stats": [
                asdict(each) | {"efficiency": each.efficiency} for each in report.worker_stats
            ],
            "resizes": [asdict(each) for each in report.resizes],
            "runs": 1 if journal is None else journal.runs,
            "journal_s": 0.0 if journal is None else journal.save_s,
        }

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

    def _alive(self, feed: Feed) -> None:
        self._send("alive", tasks=self._done, out=still_out(feed))

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


def _check_json(result: Mapping[str, Any], processor_id: str) -> None:
    """Raise UsageError for an aggregate that cannot be told."""
    try:
        json.dumps(dict(result), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"its aggregate is not JSON: {describe_exception(error)}",
            place=f"processor {processor_id}",
            remedy="give dictionaries with strings as keys, lists, numbers and strings; the tasks "
            "are done, and their rows are in --output where that was given",
        ) from error


class _Heart:
    """Calls `beat` now and then in a thread of its own, from `begin` to `end`.

    `_ended` is set by the thread that ends it, and the other only waits for it.
    """

    def __init__(self, beat: Callable[[Feed], None]) -> None:
        self._beat = beat
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, feed: Feed) -> None:
        """Begin, with a first beat at once."""
        self._beat(feed)
        self._thread = threading.Thread(
            target=self._go_on, args=(feed,), name="todobatch-heart", daemon=True
        )
        self._thread.start()

    def end(self) -> bool:
        """Stop and wait for it; whether it had begun."""
        self._ended.set()
        if self._thread is None:
            return False
        self._thread.join()
        return True

    def _go_on(self, feed: Feed) -> None:
        while not self._ended.wait(ALIVE_EVERY_S):
            self._beat(feed)


def _journal(job: Job) -> "Journal | None":
    """The job's journal, open and locked, if it is to have one. Raises what `Journal` raises."""
    name = job.get("journal")
    if name is None:
        return None
    try:
        from todobatch.coordinator.journal import Journal
    except ImportError as error:
        raise UnavailableError(
            f"this Python has no SQLite: {error}",
            place="--journal",
            remedy="choose another interpreter with --interpreter, or run without --journal",
        ) from error
    output = None if job["output"] is None else Path(job["output"]).resolve()
    if output is not None and output == Path(name).resolve():
        raise UsageError(
            "it is the output as well", place=f"--journal {name}", remedy="name two files"
        )
    if job["input"] is not None and Path(name).resolve() == Path(job["input"]).resolve():
        raise UsageError(
            "it is the input itself", place=f"--journal {name}", remedy="name another file"
        )
    return Journal(name, _identity(job, output))


def _costs(job: Job) -> "Costs | None":
    """The file of costs that the job is given. Raises what `Costs` raises, and UsageError."""
    name = job.get("costs")
    if name is None:
        return None
    from todobatch.coordinator.costs import Costs

    for what in ("input", "output", "journal"):
        other = job.get(what)
        if isinstance(other, str) and Path(other).resolve() == Path(name).resolve():
            raise UsageError(
                f"it is the {what} as well", place=f"--costs {name}", remedy="name two files"
            )
    return Costs(name, batch_size=job["batch_size"])


def _identity(job: Job, output: Path | None) -> dict[str, Json]:
    """What makes a job the same job: its tasks, how they are cut, what is done with them."""
    about: dict[str, Json] = {
        "workload": job["workload"],
        "batch size": job["batch_size"],
        "output": None if output is None else str(output),
        "today": job["today"],
    }
    if job["input"] is None:
        return about | {"generate": job["generate"], "seed": job["seed"]}
    path = Path(job["input"])
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", place=str(path), remedy="check the path"
        ) from error
    return about | {
        "input": str(path), "input's bytes": size, "input's sha256": digest,
        "format": open_source(path, format=job["format"]).name,
    }  # fmt: skip


def _output(name: str, source: str | None, journal: "Journal | None") -> "_Output":
    """Where rows go. Raises UsageError for what would destroy something, StoreError."""
    path = Path(name).resolve()  # a link is followed, not replaced
    if not name or path.is_dir():
        raise UsageError("it is a folder", place=f"--output {name}", remedy="name a file in it")
    if source is not None and Path(source).exists() and path == Path(source).resolve():
        raise UsageError(
            "it is the input itself", place=f"--output {name}", remedy="name another file"
        )
    if journal is not None and path.exists() and not path.is_file():
        raise UsageError(
            "rows that are written twice cannot be taken back there",
            place=f"--output {name}",
            remedy="with --journal the output must be a plain file",
        )
    return _Output(path, journal)


class _Output:
    """Rows as JSON Lines, in the order in which batches finish; moved into place when complete.

    Until then they are in ``<path>.part``, so that an earlier complete file is never half replaced.
    What is no regular file (a device, a pipe) is written to as it is.

    What stands in the file beyond the mark that the journal kept is cut off, and writing goes on
    there; the file may have its last name already.

    The file is locked (flock(2)) as long as a run writes it. A second one beside it,
    ``<path>.part.journal``, says which journal its rows belong to, so that no run without that
    journal writes over them; it goes when the output is complete.
    """

    def __init__(self, path: Path, journal: "Journal | None" = None) -> None:
        self.path = path
        plain = path.is_file() or not path.exists()
        self._part = path.with_name(path.name + ".part") if plain else path
        self._owner = path.with_name(path.name + ".part.journal")
        self._journal = journal
        self._rows = self._bytes = 0
        self._tail = b""
        mark = None if journal is None else journal.output
        self._named = mark is not None  # whether the file's name is on the disk for sure
        placed = journal is not None and journal.phase != "running"
        self._placed = placed and mark is not None and not self._part.exists()
        here = path if self._placed else self._part
        try:
            self._file = self._locked(here, fresh=mark is None) if plain else here.open("wb")
            if mark is not None:
                try:
                    self._go_on(mark)
                except BaseException:
                    self._file.close()
                    raise
        except FileNotFoundError as error:
            if mark is None:
                raise self._cannot(error) from error
            raise self._other_rows("it is gone") from error
        except OSError as error:
            raise self._cannot(error) from error

    def write(self, batch: Batch, result: ProcessingResult) -> None:
        """One line a task: its position, title and row, or its error."""
        errors = {failure.task: failure.error for failure in result.failures}
        rows = result.rows or (None,) * len(batch)
        lines = []
        for place, (task, row) in enumerate(zip(batch.tasks, rows, strict=True), start=batch.first):
            line: dict[str, Any] = {"task": place, "title": task.title}
            if place in errors:
                line["error"] = errors[place]
            elif result.rows is None and not result.tasks_processed:
                line["error"] = result.error
            else:
                line["result"] = row  # null where a `process_batch` of the user's own gives no rows
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        data = "".join(lines).encode("utf-8", "backslashreplace")
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            raise self._no_room(error) from error
        self._rows += len(lines)
        self._bytes += len(data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]

    def mark(self) -> dict[str, Json]:
        """Bring what is written to the disk, and say what it is for a journal to keep."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            if not self._named:
                _sync_folder(self._part.parent)
                self._named = True
        except OSError as error:
            raise self._no_room(error) from error
        return {"bytes": self._bytes, "tail": hashlib.sha256(self._tail).hexdigest()}

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
            plain = self._part != self.path
            if plain:
                os.fsync(self._file.fileno())
            if complete and plain and not self._placed:
                self._part.replace(self.path)  # before its lock is given up
                _sync_folder(self.path.parent)
            self._file.close()
            if complete and plain:
                self._owner.unlink(missing_ok=True)
            elif not self._placed:
                self.path = self._part
        except OSError as error:
            raise self._no_room(error) from error

    def _locked(self, here: Path, *, fresh: bool) -> IO[bytes]:
        """The file, open and locked; emptied when `fresh`, and known to be the journal's."""
        self._refuse_anothers()
        end = perf_counter() + WAIT_FOR_LOCK_S
        while True:
            file = open(os.open(here, os.O_RDWR | (os.O_CREAT if fresh else 0), 0o666), "r+b")  # noqa: SIM115
            try:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if perf_counter() > end:
                        raise self._in_use(here) from None
                    sleep(LOCK_POLL_S)
                    file.close()
                    continue
                except OSError:
                    pass  # a file system that has no locks
                if not _is_still(here, file):  # the run that had it has moved it into place
                    file.close()
                    continue
                self._refuse_anothers()
                if self._journal is None:
                    self._owner.unlink(missing_ok=True)
                elif not self._placed:
                    self._owner.write_text(str(self._journal.path.resolve()), "utf-8")
                if fresh:
                    file.truncate()
            except BaseException:
                file.close()
                raise
            return file

    def _refuse_anothers(self) -> None:
        """Refuse to write over rows that a journal which is not ours knows of."""
        try:
            owner = Path(self._owner.read_text("utf-8"))
            holds = self._part.stat().st_size > 0 and owner.is_file()
        except (OSError, ValueError):
            return
        if holds and (self._journal is None or self._journal.path.resolve() != owner):
            raise UsageError(
                f"{self._part.name} holds the rows of a job that is not complete, which belong to "
                f"the journal {owner}",
                place=f"--output {self.path}",
                remedy=f"go on with that job by --journal {owner}, or name another --output; to "
                f"give it up, remove {self._part}",
            )

    def _in_use(self, here: Path) -> StoreError:
        return StoreError(
            "another run is writing it",
            place=str(here),
            remedy="wait until that one has ended, or end it, or name another --output",
        )

    def _go_on(self, mark: dict[str, Any]) -> None:
        """Stand where the journal says that the rows it knows of end."""
        size = self._file.seek(0, os.SEEK_END)
        self._bytes = int(mark["bytes"])
        self._file.seek(max(self._bytes - TAIL_BYTES, 0))
        self._tail = self._file.read(min(self._bytes, TAIL_BYTES))
        if size < self._bytes or hashlib.sha256(self._tail).hexdigest() != mark["tail"]:
            raise self._other_rows("it holds something else")
        if self._placed and size != self._bytes:
            raise self._other_rows("it holds more")
        if size > self._bytes:
            self._file.truncate(self._bytes)
        self._file.seek(self._bytes)

    def _other_rows(self, cause: str) -> StoreError:
        return StoreError(
            f"it does not hold the rows that the journal knows to be written: {cause}",
            place=str(self.path if self._placed else self._part),
            remedy="put that file back; or remove the journal, to run the whole job anew",
        )

    def _cannot(self, error: OSError) -> StoreError:
        return StoreError(
            f"cannot be written: {error.strerror}",
            place=str(self.path),
            remedy="name a file in a folder that exists and is yours with --output",
        )

    def _no_room(self, error: OSError) -> StoreError:
        # With a journal: earlier runs' too, and none that it does not know of yet.
        saved = self._rows if self._journal is None else self._journal.saved_tasks
        return StoreError(
            f"cannot be written: {error.strerror}; {saved} tasks are saved",
            place=str(self._part),
            remedy="make room or name another place with --output, and run again",
        )


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Bring a new name in it to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _end_with_parent() -> None:
    """End this process group when the parent is gone, however it went."""

    def watch() -> None:
        while os.read(STDIN, 4096):  # not through sys.stdin: its lock would be held at shutdown
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgid(0) == os.getpid():  # only a group of our own may be ended
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> int:
    """``python -m todobatch.job.engine EVENTS_FD < job.json-line``"""
    with open(STDIN, "rb", buffering=0, closefd=False) as stdin:
        job: Job = json.loads(stdin.readline())
    _end_with_parent()
    engine = Engine(job, int(sys.argv[1]))
    code = engine.run()
    if engine.workers_left:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # leaving in order would wait for workers that hang
    return code


if __name__ == "__main__":
    sys.exit(main())
