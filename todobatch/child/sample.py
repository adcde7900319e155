"""Takes one sample: a verified run of one cell, in a process of its own.

A nursery forks the process (`todobatch.child.nursery`). It receives a `SampleSpec` and warms the
pool up with a few small batches. Then it starts the clock, runs all batches and sends one event,
`sample`, with what it measured.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from time import perf_counter
from typing import Any

from todobatch import Hooks, cgroup, run_batches, runtime
from todobatch.child.tasks import Load
from todobatch.executors import Executor, get
from todobatch.executors.base import BatchRunner, Capabilities, Opening, Placement
from todobatch.ipc.decoding import from_json
from todobatch.ipc.parent_process import ParentProcess
from todobatch.model import Batch, BatchReport, ProcessingResult, WorkerSeen
from todobatch.units import Seconds

WARM_TASKS = 4
"""Each batch of the warm-up has at most this many tasks."""

FROM_REPORT = ("wall_s", "tasks", "failed", "retried", "replaced", "batches", "digest")
"""The fields of the report of the batches that a sample includes as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSpec(Load):
    """The description of a sample."""

    placement: Placement


class Warmed(Executor):
    """Wraps an executor whose workers run some batches before the caller gets them."""

    name = "warmed"
    summary = "another executor, warmed up"

    def __init__(self, inner: Executor, batches: Sequence[Batch]) -> None:
        self._inner = inner
        self._batches = batches
        self.pool_start_s = 0.0
        """How long the inner executor took to start its workers."""

    @property
    def capabilities(self) -> Capabilities:
        """Return the capabilities of the inner executor."""
        return self._inner.capabilities

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the inner executor's workers and warm them up; end them after the block."""
        self._inner.check(opening.workers, opening.deadline_s)
        begun = perf_counter()
        with self._inner.start(opening) as run:
            self.pool_start_s = perf_counter() - begun
            for _ in run(self._batches):
                pass
            yield run


class Readings:
    """Reads the GIL state, CPU time, CPU quota, context switches and memory around a run.

    Made before the user's code is loaded, so that its clock is the true one whatever that changes.
    """

    def __init__(self) -> None:
        # Imported here, because the worker processes of a sample import this module again.
        from todobatch import probe

        self._probe = probe
        self._clock = perf_counter
        self.allowed = runtime.cpus_allowed()

    def start(self) -> None:
        """Read all before the clock starts."""
        self.gil_before = runtime.gil_enabled()
        self.quota_before = cgroup.cpu_quota()
        self._switches = self._probe.tree_context_switches()
        self._cpu_s = self._probe.tree_cpu_seconds()
        self.started = self._clock()

    def end(self) -> None:
        """Read all after the last batch, the clock and CPU time first."""
        self.clock_s = self._clock() - self.started
        self.cpu_s = max(self._probe.tree_cpu_seconds() - self._cpu_s, 0.0)
        after = self._probe.tree_context_switches()
        pairs = zip(self._switches, after, strict=True)
        self.switches = [later - earlier for earlier, later in pairs]
        self.peak_bytes, self.peak_method = self._probe.tree_peak(beside=os.getppid())


def run(parent: ParentProcess) -> None:
    """Receive a spec, take the sample and send the measurements."""
    spec = from_json(SampleSpec, parent.receive())
    parent.end_with_parent()
    parent.send("sample", **measure(spec))


def measure(spec: SampleSpec) -> dict[str, Any]:
    """Take the sample. Return fields of `Sample`, and the data by which it is validated."""
    read = Readings()
    batches, processor = spec.prepare()
    inner = get(spec.executor).placed(spec.placement)
    executor = Warmed(inner, warm_up(batches, spec.workers))
    results: list[ProcessingResult] = []
    report = run_batches(
        batches,
        processor,
        executor=executor,
        workers=spec.workers,
        hooks=Hooks(on_result=results.append, on_ready=read.start, on_done=read.end),
    )
    return {
        "version": sys.version.split()[0],
        "free_threaded_build": runtime.free_threaded_build(),
        "gil_before": read.gil_before,
        "gil_after": runtime.gil_enabled(),
        **{name: getattr(report, name) for name in FROM_REPORT},
        "clock_s": read.clock_s,
        "cpu_s": read.cpu_s,
        "pool_start_s": executor.pool_start_s,
        "peak_bytes": read.peak_bytes,
        "peak_method": read.peak_method,
        "errors": list(report.errors[:3]),
        "voluntary_switches": read.switches[0] if read.switches else None,
        "involuntary_switches": read.switches[1] if read.switches else None,
        "cpu_quota": [read.quota_before, cgroup.cpu_quota()],
        "worker_totals": workers_of(
            report, results, read.allowed if spec.placement == "none" else None
        ),
        "spans": spans_of(report, results, read.started),
    }


def warm_up(batches: Sequence[Batch], workers: int) -> list[Batch]:
    """Return two small batches for each worker, enough for Python to specialise its code."""
    return [
        replace(batches[n % len(batches)], tasks=batches[n % len(batches)].tasks[:WARM_TASKS])
        for n in range(2 * workers)
    ]


def workers_of(
    report: BatchReport, results: Sequence[ProcessingResult], allowed: Sequence[int] | None
) -> list[dict[str, Any]]:
    """Return `Sample.worker_totals`: what each worker did, and its state before and after.

    `allowed` are the CPUs that workers began with; None if each was placed on one of its own.
    """
    seen: dict[str, list[WorkerSeen]] = {}
    for result in sorted(results, key=lambda each: each.started):
        seen.setdefault(result.seen.worker, []).append(result.seen)
    return [
        {
            **asdict(each),
            "busy_s": round(each.busy_s, 6),
            "start_method": seen[each.worker][0].start_method,
            "allowed_before": seen[each.worker][0].allowed if allowed is None else allowed,
            "allowed_after": seen[each.worker][-1].allowed,
        }
        for each in report.worker_totals
    ]


def spans_of(
    report: BatchReport, results: Sequence[ProcessingResult], zero: Seconds
) -> list[list[float]]:
    """Return `Sample.spans`, with times in seconds after `zero`."""
    place = {each.worker: n for n, each in enumerate(report.worker_totals)}
    spans: list[list[float]] = []
    for result in results:
        seen, start_s = result.seen, result.started - zero
        if seen.worker in place:
            times = (start_s, start_s + result.duration, seen.queue_s, seen.deserialise_s)
            rounded = (round(each, 6) for each in (*times, seen.serialise_s, seen.return_s))
            spans.append([place[seen.worker], result.batch, *rounded])
    return spans
