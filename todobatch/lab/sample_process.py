"""One sample, in a process of its own, in the interpreter that is measured.

    controller ── the spec, one line of JSON ──► standard input
    controller ◄── what was seen, JSON ── spec["observed_fd"]
    controller ◄── pyperf's own JSON ── --pipe FD

It is run as a pyperf worker (``--worker -l 1 -w 1 -n 1 --pipe FD``): pyperf times one warm-up and
one value, collects its metadata and writes its file, without the manager process that it would put
above. The warm-up is a pass over a few batches with workers of its own.

Standard input stays open as long as the controller lives; when it ends, so does this process with
all its workers.

Nothing heavy is imported here at the top: worker processes import this module again.
"""

import datetime as dt
import json
import os
import signal
import sys
import threading
from dataclasses import asdict
from time import perf_counter
from typing import Any, TypedDict

from todobatch import runtime
from todobatch.lab.tasks import TaskSource, batches_of
from todobatch.model import BatchReport, ProcessingResult


class SampleSpec(TypedDict):
    """What to measure, and where to say what was seen."""

    name: str
    workload: str
    executor: str
    workers: int
    batches: int
    batch_size: int
    warm_batches: int
    source: TaskSource
    today: str
    observed_fd: int


class Measurement:
    """The function that pyperf times, and what is seen beside the time."""

    def __init__(self, spec: SampleSpec) -> None:
        from todobatch.processors import resolve

        today = dt.date.fromisoformat(spec["today"])
        self._spec = spec
        self._processor = resolve(spec["workload"], today=today)
        self._batches = batches_of(spec["source"], spec["batches"], spec["batch_size"], today=today)
        self._warm = False
        self.seen: dict[str, Any] = {}

    def __call__(self, loops: int) -> float:
        """Run the warm-up the first time and the sample the second; wall seconds, pool ready."""
        assert loops == 1
        if not self._warm:
            self._warm = True
            return self._run(self._spec["warm_batches"]).wall_s
        return self._run(self._spec["batches"]).wall_s

    def _run(self, count: int) -> BatchReport:
        from todobatch import probe
        from todobatch.coordinator import run_batches

        marks: dict[str, Any] = {}
        spans: list[tuple[str, int, float, float]] = []

        def ready() -> None:
            marks["gil_before"] = runtime.gil_enabled()
            marks["cpu"] = probe.tree_cpu_seconds()
            marks["clock"] = perf_counter()

        def done() -> None:
            marks["cpu"] = probe.tree_cpu_seconds() - marks["cpu"]
            marks["peak"] = probe.tree_peak()

        def note(result: ProcessingResult) -> None:
            spans.append((result.seen.worker, result.batch, result.started, result.duration))

        report = run_batches(
            self._batches[:count],
            self._processor,
            executor=self._spec["executor"],
            workers=self._spec["workers"],
            on_result=note,
            on_ready=ready,
            on_done=done,
        )
        zero = marks["clock"]
        place = {each.worker: n for n, each in enumerate(report.worker_totals)}
        self.seen = {
            "version": sys.version.split()[0],
            "free_threaded_build": runtime.free_threaded_build(),
            "gil_before": marks["gil_before"],
            "gil_after": runtime.gil_enabled(),
            "wall_s": report.wall_s,
            "cpu_s": max(marks["cpu"], 0.0),
            "pool_start_s": report.pool_start_s,
            "peak_bytes": marks["peak"][0],
            "peak_method": marks["peak"][1],
            "tasks": report.tasks,
            "failed": report.failed,
            "batches": report.batches,
            "digest": report.digest,
            "errors": list(report.errors[:3]),
            "worker_totals": [_worker(asdict(each)) for each in report.worker_totals],
            "spans": [
                [place[worker], batch, round(start - zero, 5), round(start - zero + length, 5)]
                for worker, batch, start, length in spans
            ],
        }
        return report


def _worker(totals: dict[str, Any]) -> dict[str, Any]:
    return {**totals, "busy_s": round(totals["busy_s"], 6)}


def end_with_controller() -> None:
    """End this process group when the controller is gone, however it went."""

    def watch() -> None:
        # Not through sys.stdin: its lock, held while this waits, is fatal when Python exits.
        while os.read(0, 4096):
            pass
        os.killpg(0, signal.SIGKILL)

    if os.getpgid(0) == os.getpid():  # only a group of our own may be ended
        threading.Thread(target=watch, name="controller-watch", daemon=True).start()


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := os.read(0, 65_536)):
        line += more
    return line


def main() -> None:
    """``python -m todobatch.lab.sample_process --worker … < spec``"""
    spec: SampleSpec = json.loads(_first_line())
    end_with_controller()
    # Worker processes must not hold the controller's pipes open.
    os.set_inheritable(spec["observed_fd"], False)

    import pyperf

    runner = pyperf.Runner(program_args=("-m", "todobatch.lab.sample_process"))
    os.set_inheritable(runner.parse_args().pipe, False)
    measurement = Measurement(spec)
    runner.bench_time_func(spec["name"], measurement)
    with os.fdopen(spec["observed_fd"], "w", encoding="utf-8") as observed:
        json.dump(measurement.seen, observed)


if __name__ == "__main__":
    main()
