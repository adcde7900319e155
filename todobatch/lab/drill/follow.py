"""Run an executor with a fault in a process of its own, and kill the process when it hangs.

The process runs `todobatch.child.drill`.
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

QUIET_PATIENT_S: Seconds = 15.0
"""`Limits.quiet_s` for an executor that isolates the fault; it may run a hanging task again."""
POLL_S: Seconds = 0.02
_PREFIX = re.compile(r"^todobatch: error: (executor \w+: )?")


@dataclass(frozen=True, slots=True)
class Limits:
    """The times after which a process counts as hanging."""

    whole_s: Seconds = 40.0
    """The longest lifetime of the process."""
    quiet_s: Seconds = 4.0
    """The longest silence of the process after its first report."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The interpreter, environment and end signal that all processes of a drill share."""

    interpreter: Interpreter
    environment: Mapping[str, str]
    ending: threading.Event = field(default_factory=threading.Event)
    """When it is set, on Ctrl-C, every thread kills its process."""


def run_once(stage: Stage, job: DrillJob, limits: Limits) -> Record:
    """Run an executor with a fault in a process of its own, and return its reports."""
    record = Record()
    folder = Path(job.folder)
    with start_drill(stage, job) as process:
        follow(process, record, stage, limits, folder=folder)
        if process.poll() is not None:
            set_end(record, process)
    record.struck = struck_at(folder)
    return record


def start_drill(stage: Stage, job: DrillJob) -> ChildProcess:
    """Start the process that runs a drill job."""
    command = [stage.interpreter.executable, "-P", "-m", "todobatch.child.drill"]
    process = ChildProcess.start(command, stage.environment, folder=Path(job.folder))
    process.send(job)
    return process


def follow(
    process: ChildProcess,
    record: Record,
    stage: Stage,
    limits: Limits,
    *,
    until: Callable[[], bool] = lambda: False,
    folder: Path | None = None,
) -> None:
    """Record events until the process has ended or counts as hanging, or `until` returns True.

    It hangs if it lives too long or is silent for too long. Silence counts from its first report,
    or from the fault if `folder` contains the fault's mark.
    """
    begun = last = time.monotonic()
    while True:
        ended = process.poll() is not None  # checked before reading, so that no event is missed
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
        since: Seconds | None = last
        if not record.settled:  # the silence begins with the fault
            struck = None if folder is None else struck_at(folder)
            since = None if struck is None else max(struck, last)
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
