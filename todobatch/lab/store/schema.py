"""What is written to a run folder and what is computed from it: two kinds that never mix.

Observed: `RunMeta` (run.json), `Sample` (a line of samples.jsonl) and `Control` (a line of
controls.jsonl). Derived: `Estimate`,
`CellSummary`, `Comparison` and `Winner`, made from samples by `lab.stats.verdict` when asked.

Schema history
  1  first (0.1.0)
  2  spans have the phases of a batch, samples context switches and CPU quota, workers the CPUs that
     they may use and how they were started; samples of a block are forks of one process
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from todobatch.units import Bytes, Ratio, Seconds

SCHEMA = 2


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One thing to measure: approach × workload × workers, as it is asked for."""

    workload: str
    interpreter: str  # as asked: '3.14', '3.14t' or a path
    executor: str
    workers: int

    @property
    def key(self) -> str:
        """``'example8/3.14t/threads/2'``: the name used in files and by pyperf."""
        return f"{self.workload}/{self.interpreter}/{self.executor}/{self.workers}"


@dataclass(frozen=True, slots=True)
class WorkloadShape:
    """How large one sample of a workload is; the same for every cell of it."""

    workload: str
    batches: int
    batch_size: int
    calibrated_s: Seconds = 0.0  # one sequential sample of this shape, taken before block 0
    digest: str = ""  # what that one gave: every sample of the workload must give the same


@dataclass(frozen=True, slots=True)
class Plan:
    """All that decides what is run; the same plan and seed give the same order of samples."""

    mode: str  # 'quick', 'full' or 'custom'
    seed: int
    today: str  # ISO date that the tasks' due dates are judged against
    blocks: int  # at most
    budget_s: Seconds  # no further block is begun when it would not fit; 0 means no limit
    cells: tuple[Cell, ...]
    shapes: tuple[WorkloadShape, ...]
    source: dict[str, Any] = field(default_factory=dict)  # where tasks come from, see lab.tasks
    left_out: tuple[tuple[str, str], ...] = ()  # (what was not measured, why)
    target: Ratio = 0.0
    """A cell is sampled until its comparison is decided or this sure (0.02: ± 2 %); 0: always."""


@dataclass(frozen=True, slots=True)
class RunMeta:
    """run.json."""

    schema: int
    run_id: str
    todobatch_version: str
    plan: Plan
    machine: dict[str, Any]  # see todobatch.lab.store.machine.describe
    interpreters: dict[str, dict[str, Any]]  # spec as asked -> RuntimeFacts
    git: dict[str, Any]  # {'commit': str, 'dirty': bool} or {}
    started: str  # ISO 8601, UTC
    ended: str | None = None
    resumed: tuple[str, ...] = ()
    doctor: list[dict[str, Any]] = field(default_factory=list)  # see lab.doctor.checks.Finding


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run of one cell in one fresh process, as seen. Nothing here is a mean or ratio.

    `wall_s` has the pool ready before the clock starts; `pool_start_s` is what that took.
    `cpu_s` is CPU time of the whole process tree within the timed part. `peak_bytes` is the peak of
    the whole tree from process start, by `peak_method`. A void sample whose process did not report
    has NaN for times (null in the file) and `gil_enabled` as the interpreter had it when found.
    """

    schema: int
    number: int  # from 0, in the order taken
    block: int
    position: int  # place in the block
    workload: str
    interpreter: str
    executor: str
    workers: int
    gil_enabled: bool  # as the workers reported it
    wall_s: Seconds
    cpu_s: Seconds
    pool_start_s: Seconds
    peak_bytes: Bytes
    peak_method: str
    tasks: int
    failed: int
    batches: int
    digest: str
    started: str  # ISO 8601, UTC
    process_s: Seconds  # life of the fresh process, start-up and warm-up included
    load_1m: float
    voluntary_switches: int | None = None
    involuntary_switches: int | None = None
    """Context switches of the whole process tree within the timed part; None where unknown."""
    cpu_quota: list[float | None] = field(default_factory=list)
    """CPUs that the cgroup granted before and after; None for no limit."""
    worker_totals: list[dict[str, Any]] = field(default_factory=list)
    """model.WorkerTotals, and: start_method, allowed_before and allowed_after (CPUs that it might
    use at the end of its first and of its last batch)."""
    spans: list[list[Any]] = field(default_factory=list)
    """A batch each: [place of its worker in worker_totals, batch, start_s, end_s, queue_s,
    deserialise_s, serialise_s, return_s]; the clock starts at 0, phases as in model.WorkerSeen."""
    pyperf: dict[str, Any] = field(default_factory=dict)  # pyperf's metadata of its run
    void: str | None = None  # why this sample must not be used

    @property
    def cell(self) -> Cell:
        """The cell it belongs to."""
        return Cell(self.workload, self.interpreter, self.executor, self.workers)


@dataclass(frozen=True, slots=True)
class Control:
    """One run of the control load: always the same computing, in the controller's own process.

    Taken at the start and the end of each block, it follows the machine's drift. It tells how fast
    the machine was when nothing that is compared was running.
    """

    schema: int
    block: int
    when: Literal["start", "end"]
    wall_s: Seconds
    cpu_s: Seconds
    started: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; `low` and `high` equal NaN where one sample gives none."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CellSummary:
    """What the samples of one cell say."""

    cell: Cell
    approach: str  # derived from what the workers reported: 'threads (GIL)', 'free-threads', …
    gil_enabled: bool
    samples: int
    voids: int
    wall_s: Estimate
    cpu_s: Estimate
    peak_bytes: Estimate
    pool_start_s: Estimate
    cold_s: Estimate  # pool start and wall time of each sample together
    cpu_use: Ratio  # CPU seconds ÷ (wall seconds × CPUs available)
    speedup: Estimate | None  # against sequential on the same interpreter, paired by block
    efficiency: Estimate | None  # speedup ÷ min(workers, CPUs)


Verdict = Literal["faster", "slower", "equivalent", "cannot tell"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One cell against another: `ratio` is the other's wall time ÷ this one's (above 1: faster)."""

    cell: Cell
    other: Cell
    ratio: Estimate
    verdict: Verdict
    pairs: int


@dataclass(frozen=True, slots=True)
class Winner:
    """The winner analysis of one workload."""

    workload: str
    verdict: Verdict  # 'faster' when one approach wins outright, else 'cannot tell'
    best: CellSummary
    tied: tuple[CellSummary, ...]  # those that cannot be told from the best, the best left out
    sentence: str  # for people: which, by how much, how sure
    reasons: tuple[tuple[str, str], ...]  # (approach, why it lost or tied), from what was measured
