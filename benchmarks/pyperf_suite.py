"""The pyperf suite: ``pyperf_suite.py -o out.json``, with all of pyperf's own options.

There is one benchmark for each executor and number of workers, on the workload `example8`.
Workers start before the clock does. Run the suite on each interpreter and compare the files
with `python -m pyperf compare_to`.
"""

import datetime as dt
from time import perf_counter

import pyperf

from todobatch import batched, runtime
from todobatch.executors import EXECUTORS, Executor
from todobatch.processors import resolve
from todobatch.sources import generate

TODAY = dt.date(2026, 11, 24)
TASKS = 800
BATCH_SIZE = 25
WORKERS = (2, 4)


def time_executor(loops: int, executor: Executor, workers: int) -> float:
    """Return the seconds for `loops` passes over the batches, without the start of the workers."""
    processor = resolve("example8", today=TODAY)
    batches = list(batched(generate(TASKS, seed=1, today=TODAY), BATCH_SIZE))
    with executor.open(processor, workers) as run:
        started = perf_counter()
        for _ in range(loops):
            for result in run(batches):
                if not result.success:
                    raise RuntimeError(result.error)
        return perf_counter() - started


def main() -> None:
    """Add every case to pyperf's runner."""
    runner = pyperf.Runner()
    # pyperf's metadata does not say whether the GIL is on.
    runner.metadata["gil"] = "on" if runtime.gil_enabled() else "off"
    for name, executor in EXECUTORS.items():
        if executor.available() is not None:
            continue
        for workers in (1,) if name == "sequential" else WORKERS:
            runner.bench_time_func(f"example8/{name}/{workers}", time_executor, executor, workers)


if __name__ == "__main__":
    main()
