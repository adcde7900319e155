"""Runs the process in which an executor meets a fault, and kills it when it hangs.

The process runs `todobatch.child.drill`. Where the coordinator is killed in the middle of its work
(`todobatch.lab.drill.killed`), there are two processes, one after the other.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from todobatch.child.drill import DrillJob
from todobatch.child.faults import struck_at
from todobatch.errors import EXIT_UNAVAILABLE
from todobatch.ipc.child_process import ChildProcess
from todobatch.lab.drill.record import End, Record
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.store.machine import without_folders
from todobatch.units import Seconds

LIMIT_S: Seconds = 40.0
"""A process is killed when it lives longer than this."""
QUIET_S: Seconds = 4.0
"""A process that has reported a task is killed when it then reports nothing for this long."""
QUIET_PATIENT_S: Seconds = 15.0
"""`QUIET_S` of an executor that claims to isolate the fault: it may run a hanging task again."""
POLL_S: Seconds = 0.02
_PREFIX = re.compile(r"^todobatch: error: (executor \w+: )?")


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """When a process counts as hanging."""

    whole_s: Seconds = LIMIT_S
    """The longest that it may live."""
    quiet_s: Seconds = QUIET_S
    """The longest that it may report nothing after its first task."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What all processes of one drill share."""

    interpreter: Interpreter
    environment: Mapping[str, str]
    ending: threading.Event = field(default_factory=threading.Event)
    """Set on Ctrl-C: every thread kills its process."""


def run_once(stage: Stage, job: DrillJob, limits: Limits) -> Record:
    """Let an executor meet a fault in a process of its own, and return what it reported."""
    record = Record()
    folder = Path(job.folder)
    with start_drill(stage, job) as process:
        follow(process, record, stage, limits, folder=folder)
        if process.poll() is not None:
            set_end(record, process)
    record.struck = struck_at(folder)
    return record


def start_drill(stage: Stage, job: DrillJob) -> ChildProcess:
    """Start the process of a job."""
    command = [stage.interpreter.executable, "-m", "todobatch.child.drill"]
    process = ChildProcess.start(command, stage.environment, folder=Path(job.folder))
    process.send(job.to_json())
    return process


def follow(
    process: ChildProcess,
    record: Record,
    stage: Stage,
    limits: Limits,
    *,
    until: Callable[[], bool] = _never,
    folder: Path | None = None,
) -> None:
    """Record events until the process has ended or counts as hanging, or `until` returns True.

    It hangs when it lives too long, or reports nothing for too long. That time begins with its
    first task, or with the strike of the fault where `folder` has the mark of that.
    """
    begun = last = time.monotonic()
    while True:
        ended = process.poll() is not None  # before its events are read, so that none is missed
        events = process.available_events()
        for event in events:
            record.add(event)
        now = time.monotonic()
        last = now if events else last
        if ended or stage.ending.is_set() or until():
            return
        if now - begun > limits.whole_s:
            record.end("hung", f"it had not ended after {limits.whole_s:g} s and was killed")
            return
        since = last if record.settled else _struck_since(folder, last)
        if since is not None and now - since > limits.quiet_s:
            record.end("hung", f"no result came back for {limits.quiet_s:g} s, and it was killed")
            return
        stage.ending.wait(POLL_S)  # events carry their own time, so a pause distorts nothing


def set_end(record: Record, process: ChildProcess) -> None:
    """Record what the exit code of an ended process means, and the last line that it printed."""
    code = process.returncode
    if code == 0:
        return
    if code is None or code < 0:
        record.end("died", f"the whole process {process.how_it_ended()}")
        return
    printed = process.printed.decode(errors="replace").partition("\n  remedy:")[0].rstrip()
    last = without_folders(printed.rpartition("\n")[2]).strip()
    kind: End = "unavailable" if code == EXIT_UNAVAILABLE else "broke"
    record.end(kind, _PREFIX.sub("", last) or f"exit code {code}")


def _struck_since(folder: Path | None, last: Seconds) -> Seconds | None:
    """Return since when a process that has reported no task is silent after the strike."""
    struck = None if folder is None else struck_at(folder)
    return None if struck is None else max(struck, last)
