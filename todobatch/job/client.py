"""Starts a job in a fresh process of an interpreter and follows its events.

The other side is `engine`. Its own watchdog cannot see a batch that holds the GIL, for
then no other thread of that process runs: so with a watchdog it says now and then that it is alive,
and when it has not for too long, it is ended from here.
"""

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from todobatch import errors
from todobatch.coordinator.watchdog import no_progress
from todobatch.errors import MeasurementError, TodobatchError
from todobatch.executors import get
from todobatch.job.engine import ALIVE_EVERY_S
from todobatch.job.spec import Job, JobReport
from todobatch.runtime import signal_name
from todobatch.units import Seconds

OnEvent = Callable[[dict[str, Any]], None]
END_TIMEOUT_S: Seconds = 10.0
SILENCE_S: Seconds = 2.0
"""The process may be silent for so long beyond its watchdog's limit, ..."""
SILENCE_A_WORKER_S: Seconds = 0.01
"""... and so much longer for each worker: threads take turns of 5 ms at the GIL."""
SLICE_S: Seconds = 0.25
"""Silence is counted in slices that were waited for: while this process is stopped, none counts."""


def run_job(
    job: Job,
    executable: Path,
    environment: Mapping[str, str],
    on_event: OnEvent,
    *,
    name: str = "",
) -> JobReport:
    """Run the job in a fresh process and give its report; other events go to `on_event`.

    `executable` is the Python that runs it, `environment` all of the process's environment, and
    `name` is what errors call that Python (its path by default).

    Ctrl-C is passed on: the first lets batches under way finish (the report then says
    ``interrupted``), the second ends the process with its workers and raises KeyboardInterrupt.
    Raises what the job failed with, as the same class, NoProgressError also when the process itself
    has fallen silent, and MeasurementError when it died without a word.
    """
    process, events = _start(job, executable, environment)
    interrupted = False
    silent: _SilentError | None = None
    report: dict[str, Any] | None = None
    try:
        report, interrupted = _follow(process, _Lines(events), on_event, _patience(job))
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass  # it has reported; what still hangs in it is ended below
    except _SilentError as error:
        silent = error
    finally:
        os.close(events)
        _end(process)
    if silent is not None:
        raise _hangs(job, silent)
    if report is None and interrupted:
        raise KeyboardInterrupt
    if report is None:
        raise _died(process, name or str(executable))
    if report["event"] == "error":
        raise _as_error(report)
    return JobReport.from_json(report["report"])


def _start(
    job: Job, executable: Path, environment: Mapping[str, str]
) -> tuple["subprocess.Popen[bytes]", int]:
    reader, writer = os.pipe()
    # Ctrl-C waits until the child can handle it: it inherits this and unblocks it when it is ready.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            [str(executable), "-m", "todobatch.job.engine", str(writer)],
            stdin=subprocess.PIPE,
            stdout=2,  # what the user's code prints must not mix with our own output
            env=dict(environment),
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
        process.stdin.write(json.dumps(job.to_json()).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once; reading its events finds that out
    return process, reader


class _SilentError(Exception):
    """Nothing was heard for too long; never leaves this module."""

    def __init__(self, last: dict[str, Any], silent_s: Seconds) -> None:
        super().__init__()
        self.last = last
        """The last event `alive`."""
        self.silent_s = silent_s


class _Lines:
    """Lines from a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._unread = b""

    def next(self, patience_s: Seconds | None) -> bytes | None:
        """The next whole line, None when there will be none.

        Raises TimeoutError when there was nothing to read for `patience_s` seconds.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            waited: Seconds = 0.0
            while b"\n" not in self._unread:
                if not selector.select(None if patience_s is None else SLICE_S):
                    waited += SLICE_S
                    if patience_s is not None and waited >= patience_s:
                        raise TimeoutError
                    continue
                waited = 0.0
                more = os.read(self._pipe, 1 << 16)
                if not more:  # half a line may be left of a process that was killed
                    return None
                self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _patience(job: Job) -> Seconds | None:
    """How long the process may be silent while batches run; None where nobody watches."""
    limit = job.recovery.watchdog_s
    if limit is None:
        return None
    return limit + ALIVE_EVERY_S + SILENCE_S + SILENCE_A_WORKER_S * job.workers


def _follow(
    process: "subprocess.Popen[bytes]",
    events: _Lines,
    on_event: OnEvent,
    patience_s: Seconds | None,
) -> tuple[dict[str, Any] | None, bool]:
    """Hand events on until the last one: that, or None, and whether Ctrl-C was passed on.

    Raises _SilentError when the process, once it has said that it is alive, says nothing more.
    """
    interrupted = False
    alive: dict[str, Any] | None = None
    while True:
        try:
            line = events.next(None if alive is None else patience_s)
            if line is None:
                return None, interrupted
            event: dict[str, Any] = json.loads(line)
            match event["event"]:
                case "report" | "error":
                    return event, interrupted
                case "alive":
                    alive = event
                case "unwatched":
                    alive = None
                case _:
                    on_event(event)
        except TimeoutError as error:
            assert alive is not None
            assert patience_s is not None
            raise _SilentError(alive, patience_s) from error
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


def _hangs(job: Job, silent: _SilentError) -> TodobatchError:
    """What the watchdog in the process would have said, had it been able to run."""
    done = f"{silent.last['tasks']} tasks were done"
    if (name := job.journal) is not None:
        from todobatch.coordinator.journal import saved_tasks

        saved = saved_tasks(name)
        done = f"{saved} tasks are done and saved in {name}" if saved is not None else done
    return no_progress(
        get(job.executor),
        f"no batch came back for {job.recovery.watchdog_s:g} s, and the process was silent for "
        f"{silent.silent_s:.1f} s: something in it lets no other thread run, as C code does that "
        f"holds the GIL; {done}; when it was heard last there was out: "
        f"{silent.last['in_flight'] or 'nothing'}",
    )


def _as_error(event: dict[str, Any]) -> TodobatchError:
    """The error that the job ended with, as its own class where there is one."""
    kind = getattr(errors, event["kind"], TodobatchError)
    error: TodobatchError = kind.__new__(kind)
    TodobatchError.__init__(error, event["cause"], place=event["place"], remedy=event["remedy"])
    error.exit_code = event["exit_code"]  # type: ignore[misc]  # this one error's, not its class's
    return error


def _died(process: "subprocess.Popen[bytes]", python: str) -> TodobatchError:
    code = process.returncode
    how = f"was killed ({signal_name(-code)})" if code < 0 else f"ended with code {code}"
    return MeasurementError(
        f"the process {how} before it could report",
        place=f"interpreter {python}",
        remedy="what it printed stands above; with --executor processes a crash in the workload "
        "costs only the batch that crashed",
    )
