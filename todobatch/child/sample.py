"""One sample, in a process of its own, in the interpreter that is measured.

    controller ── the spec, one line of JSON ──► standard input
    controller ◄── what was seen, JSON ── its first pipe
    controller ◄── pyperf's own JSON ── its second pipe

It is a child of a nursery (`nursery_process`), and a pyperf worker: pyperf takes one value,
collects its metadata and writes its file, without the manager process that it would put above. The
warm-up is ours: a few small batches through the very pool that is measured, before the clock
starts. (One of pyperf's would be a run with workers of its own, which warms nobody else.)

Standard input stays open as long as the controller lives; when it ends, so does this process with
all its workers.

psutil and pyperf are not imported at the top: worker processes import this module again.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any, TypedDict

from todobatch import cgroup, runtime
from todobatch.child.tasks import TaskSource, batches_of
from todobatch.coordinator import Hooks, run_batches
from todobatch.executors import Executor, get
from todobatch.executors.base import BatchRunner, Capabilities, Placement
from todobatch.model import Batch, BatchReport, ProcessingResult, WorkerSeen
from todobatch.processors import TaskBatchProcessor, resolve
from todobatch.units import Seconds

WARM_TASKS = 4


class SampleSpec(TypedDict):
    """What to measure."""

    name: str
    workload: str
    executor: str
    workers: int
    batches: int
    batch_size: int
    source: TaskSource
    today: str
    placement: Placement


class Warmed(Executor):
    """An executor whose workers have each had some batches before they are handed over."""

    name = "warmed"
    summary = "another executor, warmed up"

    def __init__(self, inner: Executor, batches: Sequence[Batch]) -> None:
        self._inner = inner
        self._batches = batches
        self.pool_start_s = 0.0
        """What bringing up the inner executor's workers took."""

    @property
    def capabilities(self) -> Capabilities:
        """Those of the inner executor."""
        return self._inner.capabilities

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """See `Executor.open`."""
        begun = perf_counter()
        with self._inner.open(
            processor, workers, keep_rows=keep_rows, deadline_s=deadline_s
        ) as run:
            self.pool_start_s = perf_counter() - begun
            for _ in run(self._batches):
                pass
            yield run


class Measurement:
    """The function that pyperf times, and what is seen beside the time."""

    def __init__(self, spec: SampleSpec) -> None:
        today = dt.date.fromisoformat(spec["today"])
        self._processor = resolve(spec["workload"], today=today)
        self._batches = batches_of(spec["source"], spec["batches"], spec["batch_size"], today=today)
        self._workers = spec["workers"]
        executor = get(spec["executor"]).placed(spec["placement"])
        self._executor = Warmed(executor, warm_up(self._batches, self._workers))
        self.seen: dict[str, Any] = {}

    def __call__(self, loops: int) -> float:
        """Run the sample; wall seconds, workers ready."""
        assert loops == 1
        return self._run().wall_s

    def _run(self) -> BatchReport:
        from todobatch import probe

        marks: dict[str, Any] = {}
        results: list[ProcessingResult] = []

        def ready() -> None:
            marks["gil_before"] = runtime.gil_enabled()
            marks["quota"] = cgroup.cpu_quota()
            marks["switches"] = probe.tree_context_switches()
            marks["cpu"] = probe.tree_cpu_seconds()
            marks["clock"] = perf_counter()

        def done() -> None:
            marks["cpu"] = probe.tree_cpu_seconds() - marks["cpu"]
            marks["switches_after"] = probe.tree_context_switches()
            marks["peak"] = probe.tree_peak(beside=os.getppid())

        report = run_batches(
            self._batches,
            self._processor,
            executor=self._executor,
            workers=self._workers,
            hooks=Hooks(on_result=results.append, on_ready=ready, on_done=done),
        )
        switches = [
            after - before
            for before, after in zip(marks["switches"], marks["switches_after"], strict=True)
        ]
        self.seen = {
            "version": sys.version.split()[0],
            "free_threaded_build": runtime.free_threaded_build(),
            "gil_before": marks["gil_before"],
            "gil_after": runtime.gil_enabled(),
            "wall_s": report.wall_s,
            "cpu_s": max(marks["cpu"], 0.0),
            "pool_start_s": self._executor.pool_start_s,
            "peak_bytes": marks["peak"][0],
            "peak_method": marks["peak"][1],
            "tasks": report.tasks,
            "failed": report.failed,
            "retried": report.retried,
            "replaced": report.replaced,
            "batches": report.batches,
            "digest": report.digest,
            "errors": list(report.errors[:3]),
            "voluntary_switches": switches[0] if switches else None,
            "involuntary_switches": switches[1] if switches else None,
            "cpu_quota": [marks["quota"], cgroup.cpu_quota()],
            "worker_totals": workers_of(report, results),
            "spans": spans_of(report, results, marks["clock"]),
        }
        return report


def warm_up(batches: Sequence[Batch], workers: int) -> list[Batch]:
    """Two small batches a worker: enough for Python to specialise its code, soon done."""
    return [
        replace(batches[n % len(batches)], tasks=batches[n % len(batches)].tasks[:WARM_TASKS])
        for n in range(2 * workers)
    ]


def workers_of(report: BatchReport, results: Sequence[ProcessingResult]) -> list[dict[str, Any]]:
    """`Sample.worker_totals`: what each worker did and was, by its first and its last batch."""
    seen: dict[str, list[WorkerSeen]] = {}
    for result in sorted(results, key=lambda each: each.started):
        seen.setdefault(result.seen.worker, []).append(result.seen)
    return [
        {
            **asdict(each),
            "busy_s": round(each.busy_s, 6),
            "start_method": seen[each.worker][0].start_method,
            "allowed_before": seen[each.worker][0].allowed,
            "allowed_after": seen[each.worker][-1].allowed,
        }
        for each in report.worker_totals
    ]


def spans_of(
    report: BatchReport, results: Sequence[ProcessingResult], zero: Seconds
) -> list[list[float]]:
    """`Sample.spans`, seconds from `zero` on."""
    place = {each.worker: n for n, each in enumerate(report.worker_totals)}
    return [
        [
            place[result.seen.worker],
            result.batch,
            *(
                round(seconds, 6)
                for seconds in (
                    result.started - zero,
                    result.started - zero + result.duration,
                    result.seen.queue_s,
                    result.seen.deserialise_s,
                    result.seen.serialise_s,
                    result.seen.return_s,
                )
            ),
        ]
        for result in results
        if result.seen.worker in place
    ]


def end_with_controller() -> None:
    """End this process group when the controller is gone, however it went."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held while this waits, is fatal when Python exits.
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgid(0) == os.getpid():  # only a group of our own may be ended
        threading.Thread(target=watch, name="controller-watch", daemon=True).start()


def first_line() -> bytes:
    """The first line of standard input, read from its descriptor."""
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 65_536)):
        line += more
    return line


def run(fds: Sequence[int]) -> None:
    """Take the sample: what a nursery's child does. `fds` are the two pipes."""
    import pyperf

    observed, pipe = fds
    spec: SampleSpec = json.loads(first_line())
    end_with_controller()
    # As a pyperf worker: one value of one loop, its JSON to a pipe.
    sys.argv[1:] = ["--worker", "--worker-task", "0", "-l", "1", "-w", "0", "-n", "1"]
    sys.argv += ["--pipe", str(pipe)]
    measurement = Measurement(spec)
    pyperf.Runner().bench_time_func(spec["name"], measurement)
    with os.fdopen(observed, "w", encoding="utf-8") as file:
        json.dump(measurement.seen, file)
