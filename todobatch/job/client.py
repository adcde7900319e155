"""Runs a job in a new process of an interpreter, and passes on its events.

The other side is `todobatch.job.engine`. The watchdog in that process cannot see a batch that holds
the GIL, because no other thread runs there then. So the process sends `alive` at intervals while
batches run. This side kills it when it has been silent for too long.
"""

import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from todobatch import errors
from todobatch.coordinator.watchdog import no_progress
from todobatch.errors import MeasurementError, TodobatchError
from todobatch.executors import get
from todobatch.ipc.child_process import ChildProcess, Event
from todobatch.ipc.decoding import from_json
from todobatch.job.heartbeat import ALIVE_EVERY_S
from todobatch.job.spec import STDOUT, Job, JobReport
from todobatch.units import Seconds

OnEvent = Callable[[Event], None]
END_TIMEOUT_S: Seconds = 10.0
"""A process is killed if it has not ended this many seconds after its last event."""
SILENCE_S: Seconds = 2.0
"""The process may be silent for this many seconds beyond the limit of its watchdog."""
SILENCE_A_WORKER_S: Seconds = 0.01
"""Each worker adds this many seconds to `SILENCE_S`, because a thread holds the GIL for 5 ms."""


def run_job(
    job: Job, executable: Path, environment: Mapping[str, str], on_event: OnEvent, *, name: str = ""
) -> JobReport:
    """Run a job in a new process and return its report; pass its other events to `on_event`.

    `executable` is the Python that runs it, `environment` the whole environment of its process.
    `name` is the name of that Python in errors, by default its path.

    A job whose output is "-" writes its rows to this process's standard output.

    The first Ctrl-C lets the batches in flight finish, and the report says ``interrupted``. The
    second one kills the process with its workers and raises KeyboardInterrupt. Raises the error of
    a failed job, NoProgressError for a process that no longer responds, and MeasurementError for
    one that ended without a report.
    """
    command = [executable, "-P", "-m", "todobatch.job.engine"]
    with ChildProcess.start(command, environment, output="show", hold_interrupt=True) as process:
        process.send(job, [sys.stdout.fileno()] if job.output == STDOUT else ())
        last, interrupted = _follow(process, on_event, _silence_limit(job))
        if last is None or last["event"] != "alive":
            try:
                process.wait(END_TIMEOUT_S)
            except KeyboardInterrupt:
                if last is None:  # otherwise the job has ended, and its last event says how
                    raise
    if last is not None:
        if last["event"] == "report":
            return from_json(JobReport, last["report"])
        raise _silent_error(job, last) if last["event"] == "alive" else _as_error(last)
    if interrupted:
        raise KeyboardInterrupt
    isolates = get(job.executor).capabilities.isolates_crashes
    if process.sent_foreign:
        raise MeasurementError(
            f"the process {process.how_it_ended()}: code of the workload wrote to a descriptor "
            "that it had not opened",
            place=f"interpreter {name or executable}",
            remedy="let the code write only to files that it has opened"
            + ("" if isolates else '; with `executor="processes"` it cannot reach that channel'),
        )
    raise MeasurementError(
        f"the process {process.how_it_ended()} before it could report",
        place=f"interpreter {name or executable}",
        remedy="read what it printed above"
        + (
            ", and check whether the machine ran out of memory"
            if isolates
            else '; with `executor="processes"` a crash costs only the task that crashed'
        ),
    )


def _silence_limit(job: Job) -> Seconds | None:
    """Return how long the process may be silent while batches run; None without a watchdog."""
    limit = job.recovery.watchdog_s
    if limit is None:
        return None
    return limit + ALIVE_EVERY_S + SILENCE_S + SILENCE_A_WORKER_S * job.workers


def _follow(
    process: ChildProcess, on_event: OnEvent, silence_s: Seconds | None
) -> tuple[Event | None, bool]:
    """Pass events to `on_event` until the last one, and pass the first Ctrl-C to the process.

    Returns the last event, and whether a Ctrl-C came. The last event is the report, the error, or
    `alive` if the process was silent for too long after it; None if the process ended.
    """
    interrupted = False
    alive: Event | None = None
    while True:
        try:
            event = process.next_event(None if alive is None else silence_s)
            if event is None:
                return None, interrupted
            match event["event"]:
                case "report" | "error":
                    return event, interrupted
                case "alive":
                    alive = event
                case "unwatched":
                    alive = None
                case _:
                    on_event(event)
        except TimeoutError:
            return alive, interrupted
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            process.send_signal(signal.SIGINT)
            on_event({"event": "interrupting"})


def _silent_error(job: Job, alive: Event) -> TodobatchError:
    """Return the error that the watchdog in the process could not raise."""
    done = f"{alive['tasks']} tasks were done"
    if (name := job.journal) is not None:
        from todobatch.coordinator.journal import saved_tasks

        saved = saved_tasks(name)
        done = f"{saved} tasks are done and saved in {name}" if saved is not None else done
    return no_progress(
        get(job.executor),
        f"no batch came back for {job.recovery.watchdog_s:g} s, and the process was silent for "
        f"{_silence_limit(job):.1f} s: something in it, such as C code that holds the GIL, lets no "
        f"other thread run; {done}; in flight when it last reported: "
        f"{alive['in_flight'] or 'nothing'}",
        job.recovery,
    )


def _as_error(event: dict[str, Any]) -> TodobatchError:
    """Return the job's error, as an object of its own class where that is known."""
    kind = getattr(errors, event["kind"], TodobatchError)
    error: TodobatchError = kind.__new__(kind)
    TodobatchError.__init__(error, event["cause"], place=event["place"], remedy=event["remedy"])
    error.exit_code = event["exit_code"]  # type: ignore[misc]  # this one error's, not its class's
    return error
