"""The types of a run: what is observed and stored, and what is computed from it when asked.

Observed: `RunMeta` (run.json), `Sample` (a line of samples.jsonl), `Control` (a line of
controls.jsonl). Computed by `todobatch.lab.stats`: `Estimate`, `CellSummary`, `Comparison`,
`Winner`. A run folder never contains a computed value.

Schema history
  1  first (0.1.0)
  2  Spans have the phases of a batch. Samples have context switches and the CPU quota. Workers have
     the CPUs that they may use, and their start method. All samples of a block are forks of one
     process.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from todobatch.units import Bytes, Ratio, Seconds

SCHEMA = 2


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One thing to measure: an executor on an interpreter, with a workload and workers."""

    workload: str
    interpreter: str
    """The interpreter as it was asked for: '3.14', '3.14t' or a path."""
    executor: str
    workers: int

    @property
    def key(self) -> str:
        """The name in files and in pyperf, such as ``'example8/3.14t/threads/2'``."""
        return f"{self.workload}/{self.interpreter}/{self.executor}/{self.workers}"


@dataclass(frozen=True, slots=True)
class WorkloadShape:
    """The size of a sample; the same for all cells of a workload."""

    workload: str
    batches: int
    batch_size: int
    calibrated_s: Seconds = 0.0
    """Wall time of a sequential sample of this shape, measured before block 0."""
    digest: str = ""
    """The digest of that sample's output; every sample of the workload must have the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures; its seed fixes the order of the samples."""

    mode: str
    """The mode: 'quick', 'full' or 'custom'."""
    seed: int
    today: str
    """ISO date that the tasks' due dates are compared with."""
    blocks: int
    """The largest number of blocks."""
    budget_s: Seconds
    """No block is started that would exceed this time; 0 means no limit."""
    cells: tuple[Cell, ...]
    shapes: tuple[WorkloadShape, ...]
    source: dict[str, Any] = field(default_factory=dict)
    """Where the tasks come from: a `todobatch.child.tasks.TaskSource`."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Pairs of what was not measured and why."""
    target: Ratio = 0.0
    """A cell is sampled until its comparison has a verdict, or its ratio is known to ± this.

    0.02 is ± 2 %; 0 means that every cell is in every block.
    """


@dataclass(frozen=True, slots=True)
class RunMeta:
    """The content of run.json. Dates are ISO 8601, UTC."""

    schema: int
    run_id: str
    todobatch_version: str
    plan: Plan
    machine: dict[str, Any]
    """The machine, as `todobatch.lab.store.machine.describe` returns it."""
    interpreters: dict[str, dict[str, Any]]
    """The facts of each interpreter (`todobatch.runtime.RuntimeFacts`), by its name in the plan."""
    git: dict[str, Any]
    """The git commit as {'commit': str, 'dirty': bool}, or empty."""
    started: str
    ended: str | None = None
    """The time of the end; None while the run is unfinished."""
    resumed: tuple[str, ...] = ()
    doctor: list[dict[str, Any]] = field(default_factory=list)
    """The doctor's findings (`todobatch.lab.doctor.checks.Finding`)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run of one cell in a process of its own, as observed.

    The clock starts when the workers are ready. If the process of a void sample did not report,
    its times are NaN (null in the file) and `gil_enabled` is the interpreter's default.
    """

    schema: int
    number: int
    """The number of the sample, from 0 in the order of measuring."""
    block: int
    position: int
    """The place of the sample within the block."""
    workload: str
    interpreter: str
    executor: str
    workers: int
    gil_enabled: bool
    """Whether the GIL was on, as the workers reported it."""
    wall_s: Seconds
    cpu_s: Seconds
    """CPU time of the whole process tree within the timed part."""
    pool_start_s: Seconds
    """Start-up time of the workers, which is not in `wall_s`."""
    peak_bytes: Bytes
    """Peak memory of the whole process tree since its start."""
    peak_method: str
    """How `peak_bytes` was measured."""
    tasks: int
    failed: int
    batches: int
    digest: str
    started: str
    """The time of the start: ISO 8601, UTC."""
    process_s: Seconds
    """Lifetime of the process, with start-up and warm-up."""
    load_1m: float
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    """Both kinds of context switches of the process tree in the timed part; None if unknown."""
    cpu_quota: list[float | None] = field(default_factory=list)
    """CPUs that the cgroup granted before and after; None for no limit."""
    worker_totals: list[dict[str, Any]] = field(default_factory=list)
    """`todobatch.model.WorkerTotals` with start_method, allowed_before and allowed_after.

    The last two are the CPUs that the worker was allowed to use, at the end of its first batch and
    of its last batch.
    """
    spans: list[list[Any]] = field(default_factory=list)
    """One list per batch: [index of its worker in worker_totals, batch, start_s, end_s, queue_s,
    deserialise_s, serialise_s, return_s].

    Times count from the start of the clock; for the phases see `todobatch.model.WorkerSeen`.
    """
    pyperf: dict[str, Any] = field(default_factory=dict)
    """pyperf's metadata of this sample."""
    void: str | None = None
    """Why this sample must not be used; None for a good sample."""

    @property
    def cell(self) -> Cell:
        """The cell that was measured."""
        return Cell(self.workload, self.interpreter, self.executor, self.workers)


@dataclass(frozen=True, slots=True)
class Control:
    """One run of the control load: always the same computation, in the controller's own process.

    It runs at the start and the end of each block, so it shows the machine's drift.
    """

    schema: int
    block: int
    when: Literal["start", "end"]
    wall_s: Seconds
    cpu_s: Seconds
    started: str
    """The time of the start: ISO 8601, UTC."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its 95 % interval; `low` and `high` are NaN for a single sample."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CellSummary:
    """The estimates for one cell, from its good samples."""

    cell: Cell
    approach: str
    """The approach, named by the GIL state that workers reported, such as 'free-threads'."""
    gil_enabled: bool
    samples: int
    voids: int
    wall_s: Estimate
    cpu_s: Estimate
    peak_bytes: Estimate
    pool_start_s: Estimate
    cold_s: Estimate
    """Start-up time and wall time together."""
    cpu_use: Ratio
    """CPU seconds ÷ (wall seconds × CPUs available)."""
    speedup: Estimate | None
    """Sequential wall time on the same interpreter ÷ this one, paired by block."""
    efficiency: Estimate | None
    """The speed-up ÷ min(workers, CPUs)."""


Verdict = Literal["faster", "slower", "equivalent", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison: `ratio` is another cell's wall time ÷ this one's; above 1, this is faster."""

    cell: Cell
    other: Cell
    ratio: Estimate
    verdict: Verdict
    pairs: int


@dataclass(frozen=True, slots=True)
class Winner:
    """The fastest approach of one workload, and why the others are slower."""

    workload: str
    verdict: Verdict
    """'faster' when one approach is faster than all others, else 'inconclusive'."""
    best: CellSummary
    tied: tuple[CellSummary, ...]
    """The other cells that the data do not separate from the best."""
    sentence: str
    """The verdict for people: what is fastest, by how much, and how sure that is."""
    reasons: tuple[tuple[str, str], ...]
    """Pairs of an approach and why it is slower or indistinguishable."""
