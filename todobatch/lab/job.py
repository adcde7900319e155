"""Starts a job in a fresh process of an interpreter and follows its events.

The other side is `todobatch.engine`.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from todobatch import errors
from todobatch.engine import Job
from todobatch.errors import MeasurementError, TodobatchError
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.runtime import signal_name
from todobatch.units import Seconds

OnEvent = Callable[[dict[str, Any]], None]
END_TIMEOUT_S: Seconds = 10.0


def run_job(job: Job, interpreter: Interpreter, on_event: OnEvent) -> dict[str, Any]:
    """Run the job to its end and give its report; other events go to `on_event`.

    Ctrl-C is passed on: the first lets batches under way finish (the report then says
    ``interrupted``), the second ends the process with its workers and raises KeyboardInterrupt.
    Raises what the job failed with, as the same class, and MeasurementError when the process died
    without a word.
    """
    process, events = _start(job, interpreter)
    interrupted = False
    try:
        report, interrupted = _follow(process, events, on_event)
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass  # it has reported; what still hangs in it is ended below
    finally:
        events.close()
        _end(process)
    if report is None and interrupted:
        raise KeyboardInterrupt
    if report is None:
        raise _died(process, interpreter)
    if report["event"] == "error":
        raise _as_error(report)
    return report


def _start(job: Job, interpreter: Interpreter) -> tuple["subprocess.Popen[bytes]", Any]:
    reader, writer = os.pipe()
    # Ctrl-C waits until the child can handle it: it inherits this and unblocks it when it is ready.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [str(interpreter.executable), "-m", "todobatch.engine", str(writer)],
            stdin=subprocess.PIPE,
            stdout=2,  # what the user's code prints must not mix with our own output
            env=worker_environment(interpreter, inherit_gil=True),
            pass_fds=(writer,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once; reading its events finds that out
    return process, os.fdopen(reader, encoding="utf-8")


def _follow(
    process: "subprocess.Popen[bytes]", events: Any, on_event: OnEvent
) -> tuple[dict[str, Any] | None, bool]:
    """Hand events on until the last one: that, or None, and whether Ctrl-C was passed on."""
    interrupted = False
    while True:
        try:
            line = events.readline()
            if not line.endswith("\n"):  # the end, or half a line of a process that was killed
                return None, interrupted
            event: dict[str, Any] = json.loads(line)
            if event["event"] in {"report", "error"}:
                return event, interrupted
            on_event(event)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            process.send_signal(signal.SIGINT)
            on_event({"event": "interrupting"})


def _end(process: "subprocess.Popen[bytes]") -> None:
    # Its whole group, even when it has ended: workers may have outlived it.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _as_error(event: dict[str, Any]) -> TodobatchError:
    """The error that the job ended with, as its own class where there is one."""
    kind = getattr(errors, event["kind"], TodobatchError)
    error: TodobatchError = kind.__new__(kind)
    TodobatchError.__init__(error, event["cause"], place=event["place"], remedy=event["remedy"])
    error.exit_code = event["exit_code"]  # type: ignore[misc]  # this one error's, not its class's
    return error


def _died(process: "subprocess.Popen[bytes]", interpreter: Interpreter) -> TodobatchError:
    code = process.returncode
    how = f"was killed ({signal_name(-code)})" if code < 0 else f"ended with code {code}"
    return MeasurementError(
        f"the process {how} before it could report",
        place=f"interpreter {interpreter.spec}",
        remedy="what it printed stands above; with --executor processes a crash in the workload "
        "costs only the batch that crashed",
    )
