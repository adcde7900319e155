"""Measure the speed and memory goals on this machine: ``python benchmarks/goals.py``.

1. A stream of 1,000,000 generated tasks through the validator needs less than 200 MB.
2. Two threads reach at least 1.85 times the speed of a sequential run on the free-threaded build,
   and at most 1.1 times with a GIL. The load is `example8`. The figure is the median
   ratio of interleaved pairs; each run takes about a second in a fresh process.
3. ``todobatch --help`` answers in less than 0.3 s.

The machine needs at least two CPUs and no other load. The exit code is 1 when a goal is missed.
"""

import argparse
import datetime as dt
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from scipy.stats import binom

from todobatch.job.client import run_job
from todobatch.job.spec import Job, JobReport
from todobatch.lab.interpreters import find, worker_environment
from todobatch.units import show_bytes, show_seconds

STREAMED_TASKS = 1_000_000
MEMORY_GOAL = 200_000_000
FREE_GOAL = 1.85
GIL_GOAL = 1.1
HELP_GOAL_S = 0.3
TASKS_A_SECOND = 3_500  # so that a sequential run of the reference load takes about a second


@dataclass(frozen=True)
class Row:
    """One goal and what was measured."""

    goal: str
    wanted: str
    measured: str
    met: bool


def main() -> int:
    """Measure every goal and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--pairs", type=int, default=15, help="pairs of runs for each ratio")
    parser.add_argument("--tasks", type=int, default=STREAMED_TASKS, help="tasks to stream")
    options = parser.parse_args()
    measures: Sequence[Callable[[], Row]] = (
        lambda: memory(options.tasks),
        lambda: threads("3.14t", options.pairs, FREE_GOAL, at_least=True),
        lambda: threads("3.14", options.pairs, GIL_GOAL, at_least=False),
        help_time,
    )
    rows = []
    for measure in measures:
        row = measure()
        rows.append(row)
        verdict = "met   " if row.met else "MISSED"
        print(f"{verdict}  {row.goal}: {row.measured} (goal: {row.wanted})", flush=True)
    return 0 if all(row.met for row in rows) else 1


def memory(tasks: int) -> Row:
    """Return the peak memory of all processes of a streamed run, in bytes."""
    report = run("3.14t", "validate", "threads", tasks)
    return Row(
        f"peak memory over {tasks:,} streamed tasks",
        f"under {show_bytes(MEMORY_GOAL)}",
        f"{show_bytes(report.peak_bytes)} in {show_seconds(report.wall_s)}",
        report.peak_bytes < MEMORY_GOAL,
    )


def threads(spec: str, pairs: int, goal: float, *, at_least: bool) -> Row:
    """Measure the speed-up of two threads over a sequential run, from interleaved processes."""
    ratios = []
    for pair in range(pairs):
        order = ["sequential", "threads"] if pair % 2 else ["threads", "sequential"]
        walls = {name: run(spec, "example8", name, TASKS_A_SECOND).wall_s for name in order}
        ratios.append(walls["sequential"] / walls["threads"])
    low, high = median_interval(ratios)
    median = statistics.median(ratios)
    return Row(
        f"2 threads over sequential, example8, {spec}",
        f"{'at least' if at_least else 'at most'} {goal}",
        f"{median:.2f} [{low:.2f}, {high:.2f}], {pairs} pairs",
        median >= goal if at_least else median <= goal,
    )


def help_time() -> Row:
    """Return the median wall time of the command line's help."""
    command = shutil.which("todobatch", path=str(Path(sys.executable).parent)) or "todobatch"
    times = []
    for _ in range(11):
        started = perf_counter()
        subprocess.run([command, "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(perf_counter() - started)
    median = statistics.median(times)
    return Row("todobatch --help", f"under {HELP_GOAL_S} s", show_seconds(median),
               median < HELP_GOAL_S)  # fmt: skip


def run(spec: str, workload: str, executor: str, tasks: int) -> JobReport:
    """Run a job in a fresh process of an interpreter, and return its report."""
    job = Job(
        generate=tasks, seed=1, workload=workload, executor=executor, batch_size=100,
        today=dt.date(2026, 11, 24), strict=True,
    )  # fmt: skip
    python = find(spec)
    environment = worker_environment(python, inherit_gil=True)
    return run_job(job, python.executable, environment, lambda _event: None, name=spec)


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Return a distribution-free interval for the median, from order statistics.

    Source: Conover, Practical Nonparametric Statistics, 3rd ed., 3.2. With few values it is the
    whole range, and its level is lower than requested.
    """
    ordered = sorted(values)
    rank = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    return ordered[max(rank - 1, 0)], ordered[min(len(ordered) - rank, len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())
