"""Choose how large the samples of a workload are, by measuring it at the start of a run.

Short samples mislead: a kernel that packs short-lived threads onto one CPU lets two threads of
0.1 s run one after the other. So a sequential sample of computing work lasts about a second. A
sample of waiting lasts half a second, because waits overlap however long they are.

The workload is measured with the sequential executor, which all others are compared with, on the
first interpreter. Every cell of a workload gets the same number and size of batches.
"""

from dataclasses import replace

from todobatch.errors import MeasurementError
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.plan.alone import run_command
from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.store.schema import Cell, Plan, Sample, WorkloadShape
from todobatch.processors import WORKLOADS
from todobatch.units import Seconds

COMPUTING_SAMPLE_S: Seconds = 1.0
WAITING_SAMPLE_S: Seconds = 0.5
BALANCE = 8
"""The number of batches is a multiple of this, so 2, 4 and 8 workers can share them evenly."""
MOST_BATCHES = 40
"""The most batches of a sample, because each adds a span to the file."""
MOST_SMALL_BATCHES = 1_024
"""The most batches of a sample when the user chose the size of a batch."""
MOST_TASKS = 200_000
"""The most tasks of a sample: all of them are in memory, in every process."""
DOCUMENT_BATCH = 100
"""The usual number of tasks in a batch."""
PROBE_S: Seconds = 0.1
"""A first measurement at least this long is precise enough to choose the size."""


def calibrate(sampler: Sampler, plan: Plan, workload: str, batch_size: int | None) -> WorkloadShape:
    """Return the number and size of a sample's batches, and the digest that each sample must give.

    Measures two or three short sequential runs and one of the chosen size. Raises MeasurementError
    when the workload does not run: there is nothing to compare then. With `batch_size` None the
    size of a batch is chosen too.
    """
    cell = next(c for c in plan.cells if c.workload == workload and c.executor == SEQUENTIAL)
    shape = choose(workload, _seconds_a_task(sampler, cell, batch_size), batch_size)
    reference = measure(sampler, cell, shape, batch_size=batch_size)
    return replace(shape, calibrated_s=round(reference.wall_s, 6), digest=reference.digest)


def choose(workload: str, seconds_a_task: Seconds, batch_size: int | None = None) -> WorkloadShape:
    """Return the number and size of batches for a sample that lasts as long as it should.

    A batch has `batch_size` tasks. By default it has 100. It has more if a sample would need over
    40 batches, and fewer if it would need under 8.
    """
    target_s = WAITING_SAMPLE_S if _kind(workload) == "io" else COMPUTING_SAMPLE_S
    wanted = min(MOST_TASKS, max(BALANCE, round(target_s / seconds_a_task)))
    size = batch_size or DOCUMENT_BATCH
    if batch_size is None and wanted > MOST_BATCHES * size:
        size = -(-wanted // MOST_BATCHES)
    elif batch_size is None and wanted < BALANCE * size:
        size = max(1, wanted // BALANCE)
    octets = max(1, round(wanted / size / BALANCE))
    return WorkloadShape(workload, min(octets * BALANCE, _most_batches(batch_size)), size)


def _most_batches(batch_size: int | None) -> int:
    return MOST_BATCHES if batch_size is None else MOST_SMALL_BATCHES


def _kind(workload: str) -> str | None:
    """Return ``'cpu'`` or ``'io'``; None for a workload of the user's own."""
    return WORKLOADS[workload].kind if workload in WORKLOADS else None


def _seconds_a_task(sampler: Sampler, cell: Cell, batch_size: int | None) -> Seconds:
    """Measure more and more tasks until the time is long enough to be reliable."""
    guess = WORKLOADS[cell.workload].task_seconds if cell.workload in WORKLOADS else None
    tasks = BALANCE if guess is None else max(BALANCE, round(1.2 * PROBE_S / guess))
    most = min(MOST_TASKS, _most_batches(batch_size) * (batch_size or MOST_TASKS))
    while True:
        tasks = min(tasks, most)
        size = min(tasks, batch_size or DOCUMENT_BATCH)
        probe = WorkloadShape(cell.workload, -(-tasks // size), size)
        sample = measure(sampler, cell, probe, batch_size=batch_size)
        # Computing is sized by CPU time, which a busy machine does not stretch.
        took_s = sample.cpu_s if _kind(cell.workload) == "cpu" else sample.wall_s
        if took_s >= PROBE_S / 2 or tasks == most:
            return took_s / sample.tasks
        tasks *= max(2, min(100, round(PROBE_S / max(took_s, 1e-6))))


def measure(
    sampler: Sampler,
    cell: Cell,
    shape: WorkloadShape,
    block: int = -1,
    *,
    batch_size: int | None = None,
) -> Sample:
    """Return a sample that belongs to no run. Raises MeasurementError for a void one.

    `batch_size` is the size that the user chose, for the command in the error's remedy.
    """
    sample = sampler.take(Slot(block, 0, cell), shape, number=-1)
    if sample.void is None:
        return sample
    raise MeasurementError(
        sample.void,
        place=f"{sample.workload} on {sample.interpreter}, sequential",
        remedy="run this workload alone, fix what fails, then compare approaches: "
        + run_command(cell, sampler.source, batch_size),
    )
