"""Runs one executor with one fault in this process; `todobatch drill` starts it for each pair.

The parent (`todobatch.lab.drill.follow`) sends a `DrillJob`. The events are `done`, `failed` and
`unexpected` (tasks, and when), `report` (what the coordinator counted), `unavailable` (why) and
`broke` (what the executor raised). The fault may kill this process; the events sent before count.
The process and its workers end when the parent does.
"""

import importlib
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from todobatch import Hooks, Recovery, run_batches
from todobatch.child.faults import FAULTS, Drilled, Strike, unable, work
from todobatch.executors import EXECUTORS, Executor, Wrapped
from todobatch.executors.processes import fork_server_context
from todobatch.ipc.decoding import from_json
from todobatch.ipc.parent_process import ParentProcess
from todobatch.model import Batch, ProcessingResult, Task, describe_exception
from todobatch.units import Seconds


def _process_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=fork_server_context())


_WRAPPED = (
    Wrapped(ThreadPoolExecutor, "wrapped-threads"),
    Wrapped(_process_pool, "wrapped-processes", needs_pickling=True, cpu_parallel=True),
)
WRAPPED: Mapping[str, Executor] = MappingProxyType({each.name: each for each in _WRAPPED})
"""Pools of the standard library in a `Wrapped`: they show what retries alone can do."""
OWN: Mapping[str, Executor] = MappingProxyType({**EXECUTORS, **WRAPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillJob:
    """The description of a drill: an executor, its load, and the fault that one task meets."""

    executor: str
    peer: str | None
    """``module:function`` for the pool of another package; None for an executor of todobatch."""
    fault: str
    struck: int
    """The number of the task that meets the fault."""
    folder: str
    """A private folder for the file that records when the fault occurred."""
    tasks: int
    workers: int
    batch_size: int
    deadline_s: Seconds
    retries: int
    backoff_s: Seconds
    watchdog_s: Seconds
    """A run without deadlines ends after this many seconds without progress."""


class Outcomes:
    """Reports the results of tasks to the parent. Only the thread that receives results uses it."""

    def __init__(self, parent: ParentProcess) -> None:
        self._send = parent.send

    def event(self, event: str, **fields: Any) -> None:
        """Send an event with the time by `time.monotonic`, which all processes share."""
        self._send(event, at=time.monotonic(), **fields)

    def done(self, tasks: Sequence[int]) -> None:
        """Report tasks that have a result."""
        self.event("done", tasks=list(tasks))

    def result(self, task: int, result: Any) -> None:
        """Report what a pool returned for a task.

        The correct result is the task's number, or the lambda of the fault `unpicklable`.
        """
        if result == task or callable(result):
            self.done([task])
        else:
            error = f"{result!r} came back for a task that failed"
            self.event("unexpected", tasks=[task], error=error)

    def failed(self, task: int, error: str) -> None:
        """Report a task that has no result, with the executor's reason."""
        self.event("failed", tasks=[task], error=error)


Peer = Callable[[Callable[[int], Any], DrillJob, Outcomes], None]


def run_own(job: DrillJob, outcomes: Outcomes) -> None:
    """Run an executor of todobatch. A row counts only at the position of its own task."""
    executor = OWN[job.executor]
    if reason := executor.available():
        outcomes.event("unavailable", reason=reason)
        return
    can_stop = executor.capabilities.enforces_deadlines
    hangs = FAULTS[job.fault].needs == "deadline"

    def report_batch(batch: Batch, result: ProcessingResult) -> None:
        rows = result.rows or ()
        pairs = zip(batch.tasks, rows, strict=False)  # a batch that failed as a whole has no rows
        outcomes.done([number for task, row in pairs if row == (number := int(task.title))])
        for failure in result.failures:
            outcomes.failed(failure.task, failure.error)

    report = run_batches(
        [Task(str(number)) for number in range(job.tasks)],
        Drilled(strike=_strike(job)),
        executor=executor,
        workers=job.workers,
        batch_size=job.batch_size,
        keep_rows=True,
        hooks=Hooks(on_batch=report_batch),
        recovery=Recovery(
            retries=job.retries,
            backoff_s=job.backoff_s,
            retry_failed=True,
            deadline_s=job.deadline_s if can_stop else None,
            watchdog_s=job.watchdog_s if hangs and not can_stop else None,
        ),
    )
    outcomes.event("report", done=report.tasks - report.failed, failed=report.failed)


def run_peer(job: DrillJob, outcomes: Outcomes) -> None:
    """Run the pool of another package as its documentation says."""
    assert job.peer is not None
    module, _, name = job.peer.partition(":")
    peer: Peer = getattr(importlib.import_module(module), name)
    try:
        peer(partial(work, strike=_strike(job)), job, outcomes)
    except ImportError as error:
        outcomes.event("unavailable", reason=f"not installed: {describe_exception(error)}")


def _strike(job: DrillJob) -> Strike:
    return Strike(job.fault, job.struck, job.folder)


def main() -> int:
    """Run the job that the parent sends: ``python -m todobatch.child.drill CONTROL EVENTS``."""
    parent = ParentProcess.from_arguments()
    job = from_json(DrillJob, parent.receive())
    parent.end_with_parent()
    outcomes = Outcomes(parent)
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))  # no core file: the crash is intended
    if reason := unable(FAULTS[job.fault]):
        outcomes.event("unavailable", reason=reason)
        return 0
    try:
        (run_own if job.peer is None else run_peer)(job, outcomes)
    except BaseException as error:  # some pools pass a task's SystemExit to the caller
        outcomes.event("broke", error=describe_exception(error)[:300])
        os._exit(1)  # a normal exit would wait for workers that hang; the parent kills them
    return 0


if __name__ == "__main__":
    sys.exit(main())
