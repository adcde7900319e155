"""Measure what recording in the workers costs: ``python benchmarks/watching.py``

With every result a worker records its GIL state, its CPU and how long the batch waited. Samples
need that. This times `Worker.work`, which records, and the bare `process_batch`, in turns in one
process. It prints the median of the paired ratios, for batches of the workload ``example8``.
Every executor runs the same code in its workers; sending the record back from a process or an
interpreter is not included.
"""

import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

from todobatch import batched, runtime
from todobatch.executors.worker import Worker
from todobatch.model import Batch, ProcessingResult
from todobatch.processors import resolve
from todobatch.sources.generator import generate

TURNS = 100
TASKS = 400


def main() -> None:
    processor = resolve("example8")
    recording = Worker(processor, "main", "main", keep_rows=False).work
    bare = processor.process_batch
    print(f"{runtime.facts()['version']}, GIL {'on' if runtime.gil_enabled() else 'off'}")
    for size in (100, 4):
        batches = list(batched(generate(TASKS), size))
        ratios = []
        for _ in range(TURNS):
            first, second = _seconds(recording, batches), _seconds(bare, batches)
            ratios += [first / second, _seconds(recording, batches) / second]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{size:>3} tasks a batch: {middle:.4f} (quartiles {low:.4f} to {high:.4f})")


def _seconds(work: Callable[[Batch], ProcessingResult], batches: Sequence[Batch]) -> float:
    begun = perf_counter()
    for batch in batches:
        work(batch)
    return perf_counter() - begun


if __name__ == "__main__":
    main()
