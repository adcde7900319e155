"""How large a sample of each workload is made, measured at the start of a run.

Short samples mislead: a kernel that packs short-lived threads onto one CPU lets two threads of
0.1 s run one after the other. A sequential sample of computing work is made to last about a second,
one of waiting half a second: waits overlap however long they are.

Sequential, because it is what all others are compared with. On the first interpreter: every cell
of a workload gets the same shape.
"""

from dataclasses import replace

from todobatch.errors import MeasurementError
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.plan.cells import Draft
from todobatch.lab.store.schema import Cell, Sample, WorkloadShape
from todobatch.processors import WORKLOADS
from todobatch.units import Seconds

COMPUTING_SAMPLE_S: Seconds = 1.0
WAITING_SAMPLE_S: Seconds = 0.5
BALANCE = 8
"""Batches are a multiple of this, so that 2, 4 and 8 workers can share them evenly."""
MOST_BATCHES = 40  # each leaves a span in the sample; five a worker with eight workers
MOST_SMALL_BATCHES = 1_024  # where the size of a batch is the user's wish
MOST_TASKS = 200_000  # all of a sample's tasks are in memory, in every process
DOCUMENT_BATCH = 100  # tasks a batch in the source document
PROBE_S: Seconds = 0.1  # a first measure at least this long is good enough to size a sample from


def calibrate(sampler: Sampler, draft: Draft, workload: str) -> WorkloadShape:
    """The shape of a workload's samples, and the digest that all of them must give.

    Takes two or three short sequential runs and one of the chosen shape. Raises MeasurementError
    when the workload does not run: there is nothing to compare then.
    """
    cell = next(c for c in draft.cells if c.workload == workload and c.executor == "sequential")
    size = draft.batch_size
    shape = choose(workload, _seconds_a_task(sampler, cell, size), size)
    reference = _sound(sampler.take(Slot(-1, 0, cell), shape, number=-1))
    return replace(shape, calibrated_s=round(reference.wall_s, 6), digest=reference.digest)


def choose(workload: str, seconds_a_task: Seconds, batch_size: int | None = None) -> WorkloadShape:
    """Batches × tasks for a sample of the wished length.

    Batches have the document's 100 tasks unless `batch_size` says otherwise, a sample would need
    more than 40 of them (larger ones then) or fewer than 8 (smaller ones then).
    """
    wanted = min(MOST_TASKS, max(BALANCE, round(_target(workload) / seconds_a_task)))
    size = batch_size or DOCUMENT_BATCH
    if batch_size is None and wanted > MOST_BATCHES * size:
        size = -(-wanted // MOST_BATCHES)
    elif batch_size is None and wanted < BALANCE * size:
        size = max(1, wanted // BALANCE)
    octets = max(1, round(wanted / size / BALANCE))
    return WorkloadShape(workload, min(octets * BALANCE, _most_batches(batch_size)), size)


def _most_batches(batch_size: int | None) -> int:
    return MOST_BATCHES if batch_size is None else MOST_SMALL_BATCHES


def _target(workload: str) -> Seconds:
    kind = WORKLOADS[workload].kind if workload in WORKLOADS else "cpu"
    return WAITING_SAMPLE_S if kind == "io" else COMPUTING_SAMPLE_S


def _seconds_a_task(sampler: Sampler, cell: Cell, batch_size: int | None) -> Seconds:
    """Measured with growing numbers of tasks until it takes long enough to be believed."""
    guess = WORKLOADS[cell.workload].task_seconds if cell.workload in WORKLOADS else None
    tasks = BALANCE if guess is None else max(BALANCE, round(1.2 * PROBE_S / guess))
    most = min(MOST_TASKS, _most_batches(batch_size) * (batch_size or MOST_TASKS))
    while True:
        tasks = min(tasks, most)
        size = min(tasks, batch_size or DOCUMENT_BATCH)
        shape = WorkloadShape(cell.workload, -(-tasks // size), size)
        sample = _sound(sampler.take(Slot(-1, 0, cell), shape, number=-1))
        # Computing is sized by CPU time, which a busy machine does not stretch.
        took = sample.cpu_s if _computes(cell.workload) else sample.wall_s
        if took >= PROBE_S / 2 or tasks == most:
            return took / sample.tasks
        tasks *= max(2, min(100, round(PROBE_S / max(took, 1e-6))))


def _computes(workload: str) -> bool:
    return workload in WORKLOADS and WORKLOADS[workload].kind == "cpu"


def _sound(sample: Sample) -> Sample:
    if sample.void is None:
        return sample
    raise MeasurementError(
        sample.void,
        place=f"{sample.workload} on {sample.interpreter}, sequential",
        remedy="the workload must run by itself before approaches can be compared: "
        f"todobatch run --generate 100 --workload {sample.workload} --executor sequential",
    )
