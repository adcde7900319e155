"""Runs one of the two sides of a `todobatch versus`, in a process of its own.

A nursery forks the process (`todobatch.child.nursery`). It receives a `SideSpec`, starts its
workers, warms them up and sends the event `warm`. For each message it then runs one turn and sends
one event `turn`, until the controller closes the channel.
"""

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

from todobatch import runtime
from todobatch.child.tasks import Load
from todobatch.executors import get
from todobatch.executors.base import BatchRunner
from todobatch.ipc.decoding import from_json
from todobatch.ipc.parent_process import ParentProcess
from todobatch.model import Batch
from todobatch.processors.base import DIGEST_MODULUS
from todobatch.units import Seconds

WARM_TURNS = 2
"""A warm-up has at most this many turns."""
WARM_S: Seconds = 0.1
"""No turn of the warm-up begins after this many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSpec(Load):
    """The description of one side: what it runs in each turn."""

    cpu: int | None
    """The CPU that the side's process stays on, or None for any."""


def run(parent: ParentProcess) -> None:
    """Receive a spec, start and warm the workers, and run a turn for each message."""
    spec = from_json(SideSpec, parent.receive())
    if spec.cpu is not None:
        os.sched_setaffinity(0, {spec.cpu})
    batches, processor = spec.prepare()
    with get(spec.executor).open(processor, spec.workers) as run_batches:
        begun = perf_counter()
        seen = _turn(run_batches, batches)
        for _ in range(WARM_TURNS - 1):
            if perf_counter() - begun < WARM_S:
                seen = _turn(run_batches, batches)
        parent.send("warm", **seen)
        while parent.receive() is not None:
            parent.send("turn", **_turn(run_batches, batches))


def _turn(run_batches: BatchRunner, batches: Sequence[Batch]) -> dict[str, Any]:
    """Run all batches once, and return wall and CPU time in seconds and the totals of the results.

    The CPU time is this process's own, and None if the turn waited for anything: the process then
    gave up its CPU of its own accord (a voluntary context switch, getrusage(2)).
    """
    tasks = failed = digest = 0
    error, gil = None, runtime.gil_enabled()
    waits, cpu, begun = _waits(), process_time(), perf_counter()
    results = list(run_batches(batches))
    wall_s, cpu_s = perf_counter() - begun, process_time() - cpu
    waited = _waits() != waits
    for result in results:
        tasks += result.tasks
        failed += result.tasks - result.tasks_processed
        digest = (digest + (result.digest or 0)) % DIGEST_MODULUS
        error = error or result.error
        gil = gil or result.seen.gil_before or result.seen.gil_after
    return {
        "wall_s": wall_s,
        "cpu_s": None if waited else cpu_s,
        "tasks": tasks,
        "failed": failed,
        "error": error,
        "digest": f"{digest:064x}",
        "gil": gil or runtime.gil_enabled(),
    }


def _waits() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
