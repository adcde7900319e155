"""One side of a comparison in turns, in a process of its own, in the interpreter that is measured.

    controller ── the spec, one line of JSON; then a byte a turn ──► standard input
    controller ◄── what was seen first; then a line of JSON a turn ── its pipe

It is a child of a nursery (`nursery_process`) and lives as long as its standard input is open.
"""

import datetime as dt
import json
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, TypedDict

from todobatch import runtime
from todobatch.child.sample import first_line
from todobatch.child.tasks import TaskSource, batches_of
from todobatch.executors import get
from todobatch.executors.base import BatchRunner
from todobatch.model import Batch
from todobatch.processors import resolve
from todobatch.processors.base import DIGEST_MODULUS
from todobatch.units import Seconds

WARM_TURNS = 2
WARM_S: Seconds = 0.1
"""When warming up has taken so long, it is warm."""


class SideSpec(TypedDict):
    """What one side runs in each turn."""

    workload: str
    executor: str
    workers: int
    batches: int
    batch_size: int
    source: TaskSource
    today: str
    cpu: int | None
    """The CPU that it is kept on; None for any."""
    environment: dict[str, str]
    """Set before its workers are started."""


def run(fds: Sequence[int]) -> None:
    """Bring the workers up, warm them, and take turns: what a nursery's child does."""
    (pipe,) = fds
    spec: SideSpec = json.loads(first_line())
    if spec["cpu"] is not None:
        os.sched_setaffinity(0, {spec["cpu"]})
    os.environ.update(spec["environment"])
    today = dt.date.fromisoformat(spec["today"])
    batches = batches_of(spec["source"], spec["batches"], spec["batch_size"], today=today)
    processor = resolve(spec["workload"], today=today)
    with get(spec["executor"]).open(processor, spec["workers"]) as run_batches:
        begun = perf_counter()
        seen = _turn(run_batches, batches)
        for _ in range(WARM_TURNS - 1):
            if perf_counter() - begun < WARM_S:
                seen = _turn(run_batches, batches)
        _say(pipe, {**seen, "version": sys.version.split()[0], "threads": threading.active_count()})
        with suppress(BrokenPipeError):
            while os.read(0, 1):
                _say(pipe, _turn(run_batches, batches))


def _turn(run_batches: BatchRunner, batches: Sequence[Batch]) -> dict[str, Any]:
    """One turn: its wall time, and what came out."""
    tasks = failed = digest = 0
    error, gil = None, runtime.gil_enabled()
    begun = perf_counter()
    results = list(run_batches(batches))
    wall_s = perf_counter() - begun
    for result in results:
        tasks += result.tasks
        failed += result.tasks - result.tasks_processed
        digest = (digest + (result.digest or 0)) % DIGEST_MODULUS
        error = error or result.error
        gil = gil or result.seen.gil_before or result.seen.gil_after
    return {
        "wall_s": wall_s,
        "tasks": tasks,
        "failed": failed,
        "error": error,
        "digest": f"{digest:064x}",
        "gil": gil or runtime.gil_enabled(),
    }


def _say(pipe: int, what: dict[str, Any]) -> None:
    data = json.dumps(what).encode() + b"\n"
    while data:
        data = data[os.write(pipe, data) :]
