"""One executor meets one fault, in this process: what `todobatch drill` starts for each row.

    parent ── the job, one line of JSON ──► standard input
    parent ◄── events, a line of JSON each ── the file descriptor that is the first argument

Events: `unavailable` (why), `done`, `failed` and `strange` (task numbers, when), `report` (what the
coordinator counted itself), `broke` (what the executor threw). This process may well be killed by
the fault: what it has told by then is what is known. It ends with its workers when the parent does.
"""

import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any, TypedDict

from todobatch.child.faults import FAULTS, Drilled, Strike, unable, work
from todobatch.coordinator import Hooks, Recovery, run_batches
from todobatch.executors import EXECUTORS, Executor, Wrapped
from todobatch.model import Batch, ProcessingResult, Task, describe_exception
from todobatch.units import Seconds

STDIN = 0


def _process_pool(workers: int) -> ProcessPoolExecutor:
    methods = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in methods else "spawn"
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context(method))


WRAPPED: Mapping[str, Executor] = MappingProxyType(
    {
        each.name: each
        for each in (
            Wrapped(ThreadPoolExecutor, "wrapped-threads"),
            Wrapped(_process_pool, "wrapped-processes", needs_pickling=True, cpu_parallel=True),
        )
    }
)
"""Pools of the standard library under our contract: what retrying makes of them, and cannot."""
OURS: Mapping[str, Executor] = MappingProxyType({**EXECUTORS, **WRAPPED})


class DrillJob(TypedDict):
    """What to run. `peer` is ``module:function`` for another's pool, else None."""

    executor: str
    peer: str | None
    fault: str
    struck: int
    folder: str
    tasks: int
    workers: int
    batch_size: int
    deadline_s: Seconds
    retries: int
    backoff_s: Seconds
    watchdog_s: Seconds
    """Where a task hangs and there are no deadlines: no result for so long, and it is given up."""


class Tell:
    """Writes events. Used by one thread: the one that takes results in."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # no worker may keep it open
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def event(self, event: str, **fields: Any) -> None:
        """One line."""
        self._file.write(json.dumps({"event": event, "at": time.monotonic(), **fields}) + "\n")

    def done(self, tasks: Sequence[int]) -> None:
        """Tasks that have a result."""
        self.event("done", tasks=list(tasks))

    def result(self, task: int, result: Any) -> None:
        """What a pool gave for this task: its number, or the lambda of the fault `unpicklable`.

        Anything else is no result, whatever the pool takes it for.
        """
        if result == task or callable(result):
            self.done([task])
        else:
            self.event(
                "strange", tasks=[task], error=f"{result!r} came back for a task that failed"
            )

    def failed(self, task: int, error: str) -> None:
        """The task has none, and the executor says why."""
        self.event("failed", tasks=[task], error=error)


Peer = Callable[[Callable[[int], Any], Iterable[int], DrillJob, Tell], None]


def run_own(job: DrillJob, tell: Tell) -> None:
    """One of our executors, by way of the coordinator. A row in another task's place is none."""
    executor = OURS[job["executor"]]
    if reason := executor.available():
        tell.event("unavailable", reason=reason)
        return
    can_stop = executor.capabilities.enforces_deadlines
    hangs = FAULTS[job["fault"]].needs == "deadline"

    def take(batch: Batch, result: ProcessingResult) -> None:
        rows = result.rows or ()
        pairs = zip(batch.tasks, rows, strict=False)  # a batch that failed whole has no rows
        tell.done([number for task, row in pairs if row == (number := int(task.title))])
        for failure in result.failures:
            tell.failed(failure.task, failure.error)

    report = run_batches(
        [Task(str(number)) for number in range(job["tasks"])],
        Drilled(strike=_strike(job)),
        executor=executor,
        workers=job["workers"],
        batch_size=job["batch_size"],
        keep_rows=True,
        hooks=Hooks(on_batch=take),
        recovery=Recovery(
            retries=job["retries"],
            backoff_s=job["backoff_s"],
            retry_failed=True,
            deadline_s=job["deadline_s"] if can_stop else None,
            watchdog_s=job["watchdog_s"] if hangs and not can_stop else None,
        ),
    )
    tell.event("report", done=report.tasks - report.failed, failed=report.failed)


def run_peer(job: DrillJob, tell: Tell) -> None:
    """Another's pool, the way its documentation says for a list of tasks."""
    assert job["peer"] is not None
    module, _, name = job["peer"].partition(":")
    peer: Peer = getattr(importlib.import_module(module), name)
    try:
        peer(partial(work, strike=_strike(job)), range(job["tasks"]), job, tell)
    except ImportError as error:
        tell.event("unavailable", reason=f"not installed: {describe_exception(error)}")


def _strike(job: DrillJob) -> Strike:
    return Strike(job["fault"], job["struck"], job["folder"])


def _no_core_file() -> None:
    """A crash on purpose leaves nothing behind."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _end_with_parent() -> None:
    def watch() -> None:
        while os.read(STDIN, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgid(0) == os.getpid():  # only a group of our own may be ended
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main() -> int:
    """``python -m todobatch.child.drill EVENTS_FD < job.json-line``"""
    with open(STDIN, "rb", buffering=0, closefd=False) as stdin:
        job: DrillJob = json.loads(stdin.readline())
    tell = Tell(int(sys.argv[1]))
    _no_core_file()
    _end_with_parent()
    if reason := unable(FAULTS[job["fault"]]):
        tell.event("unavailable", reason=reason)
        return 0
    try:
        (run_own if job["peer"] is None else run_peer)(job, tell)
    except BaseException as error:  # SystemExit of a task too, which some pools hand to the caller
        tell.event("broke", error=describe_exception(error)[:300])
        os._exit(1)  # a worker that hangs would be waited for; the parent ends what is left
    return 0


if __name__ == "__main__":
    sys.exit(main())
