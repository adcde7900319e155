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

import datetime as dt
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypedDict

from todobatch.child.tasks import TaskSource
from todobatch.executors.base import MAX_WORKERS
from todobatch.ipc.decoding import NULL_IS_NAN, As, Only, within
from todobatch.runtime import RuntimeFacts
from todobatch.units import Bytes, Ratio, Seconds

SCHEMA = 2


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).year >= 1970
    except ValueError:
        return False


def _is_time(text: str) -> bool:
    try:
        return dt.datetime.fromisoformat(text).year >= 1970
    except ValueError:
        return False


def _are_spans(rows: list[Any]) -> bool:
    return all(isinstance(row, list)
        and 4 <= len(row) <= 8
        and isinstance(row[0], int | str)
        and {type(each) for each in row[1:]} <= {int, float}
        and -1e9 < min(row[1:]) <= max(row[1:]) < 1e9
        for row in rows)  # fmt: skip


# What is read from a file is checked against these (`todobatch.ipc.decoding`).
Count: TypeAlias = Annotated[int, within(0, 2**62)]
Measured: TypeAlias = Annotated[Seconds, within(0, 1e9)]
MaybeMeasured: TypeAlias = Annotated[Seconds, within(0, 1e9), NULL_IS_NAN]
Name: TypeAlias = Annotated[
    str, Only(lambda text: len(text) <= 4_096, "text of at most 4096 characters")
]
Day: TypeAlias = Annotated[str, Only(_is_day, "a date such as 2026-01-31")]
Time: TypeAlias = Annotated[str, Only(_is_time, "a date and time in ISO 8601")]


class Machine(TypedDict, total=False):
    """The properties of a machine that something is computed from; it may have others."""

    cpu_model: str | None
    cpus_available: Annotated[int, within(1, 1e6)] | None
    cpu_quota: Annotated[float, within(1e-3, 1e6)] | None
    memory_bytes: Count | None
    load: Annotated[list[Measured], Only(len, "a list of at least one number")] | None


class GitState(TypedDict, total=False):
    """The git commit of todobatch; empty where there is none."""

    commit: str
    dirty: bool


class Doubt(TypedDict):
    """A finding of the doctor (`todobatch.lab.doctor.checks.Finding`)."""

    name: str
    severity: str
    seen: str


class Worker(TypedDict):
    """What one worker of a sample did (`todobatch.model.WorkerTotals`, and more)."""

    worker: str
    batches: Count
    gil_before: NotRequired[bool]
    gil_after: NotRequired[bool]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One thing to measure: an executor on an interpreter, with a workload and workers."""

    workload: Name
    interpreter: Name
    """The interpreter as it was asked for: '3.14', '3.14t' or a path."""
    executor: Name
    workers: Annotated[int, within(1, MAX_WORKERS)]

    @property
    def key(self) -> str:
        """The name in files and in pyperf, such as ``'example8/3.14t/threads/2'``."""
        return f"{self.workload}/{self.interpreter}/{self.executor}/{self.workers}"


@dataclass(frozen=True, slots=True)
class WorkloadShape:
    """The size of a sample; the same for all cells of a workload."""

    workload: Name
    batches: Annotated[int, within(1, 1e6)]
    batch_size: Annotated[int, within(1, 1e6)]
    calibrated_s: Measured = 0.0
    """Wall time of a sequential sample of this shape, measured before block 0."""
    digest: str = ""
    """The digest of that sample's output; every sample of the workload must have the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures; its seed fixes the order of the samples."""

    mode: str
    """The mode: 'quick', 'full' or 'custom'."""
    seed: Count
    today: Day
    """ISO date that the tasks' due dates are compared with."""
    blocks: Annotated[int, within(1, 1e6)]
    """The largest number of blocks."""
    budget_s: Measured
    """No block is started that would exceed this time; 0 means no limit."""
    cells: Annotated[tuple[Cell, ...], Only(lambda cells: len(cells) <= 10_000, "at most 10,000")]
    shapes: tuple[WorkloadShape, ...]
    source: Annotated[dict[str, Any], As(TaskSource)] = field(default_factory=dict)
    """Where the tasks come from: a `todobatch.child.tasks.TaskSource`."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Pairs of what was not measured and why."""
    target: Annotated[Ratio, within(0, 1)] = 0.0
    """A cell is sampled until its comparison has a verdict, or its ratio is known to ± this.

    0.02 is ± 2 %; 0 means that every cell is in every block.
    """


@dataclass(frozen=True, slots=True)
class RunMeta:
    """The content of run.json. Dates are ISO 8601, UTC."""

    schema: int
    run_id: Name
    todobatch_version: str
    plan: Plan
    machine: Annotated[dict[str, Any], As(Machine)]
    """The machine, as `todobatch.lab.store.machine.describe` returns it."""
    interpreters: dict[str, Annotated[dict[str, Any], As(RuntimeFacts)]]
    """The facts of each interpreter (`todobatch.runtime.RuntimeFacts`), by its name in the plan."""
    git: Annotated[dict[str, Any], As(GitState)]
    """The git commit as {'commit': str, 'dirty': bool}, or empty."""
    started: Time
    ended: Time | None = None
    """The time of the end; None while the run is unfinished."""
    resumed: tuple[Time, ...] = ()
    doctor: list[Annotated[dict[str, Any], As(Doubt)]] = field(default_factory=list)
    """The doctor's findings (`todobatch.lab.doctor.checks.Finding`)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed run of one cell in a process of its own, as observed.

    The clock starts when the workers are ready. If the process of a void sample did not report,
    its times are NaN (null in the file) and `gil_enabled` is the interpreter's default.
    """

    schema: int
    number: Count
    """The number of the sample, from 0 in the order of measuring."""
    block: Count
    position: Count
    """The place of the sample within the block."""
    workload: Name
    interpreter: Name
    executor: Name
    workers: Annotated[int, within(1, MAX_WORKERS)]
    gil_enabled: bool
    """Whether the GIL was on, as the workers reported it."""
    wall_s: Annotated[Seconds, within(1e-9, 1e9), NULL_IS_NAN]
    cpu_s: MaybeMeasured
    """CPU time of the whole process tree within the timed part."""
    pool_start_s: MaybeMeasured
    """Start-up time of the workers, which is not in `wall_s`."""
    peak_bytes: Annotated[Bytes, within(0, 2**62)]
    """Peak memory of the whole process tree since its start."""
    peak_method: str
    """How `peak_bytes` was measured."""
    tasks: Count
    failed: Count
    batches: Count
    digest: Name
    started: Time
    """The time of the start: ISO 8601, UTC."""
    process_s: MaybeMeasured
    """Lifetime of the process, with start-up and warm-up."""
    load_1m: MaybeMeasured
    voluntary_switches: Count | None = None
    involuntary_switches: Count | None = None
    """Both kinds of context switches of the process tree in the timed part; None if unknown."""
    cpu_quota: list[Measured | None] = field(default_factory=list)
    """CPUs that the cgroup granted before and after; None for no limit."""
    worker_totals: list[Annotated[dict[str, Any], As(Worker)]] = field(default_factory=list)
    """`todobatch.model.WorkerTotals` with start_method, allowed_before and allowed_after.

    The last two are the CPUs that the worker was allowed to use, before the workload was loaded and
    at the end of its last batch. Placed workers, and older runs, have those at the end of the first
    batch in place of the former.
    """
    spans: Annotated[list[Any], Only(_are_spans, "a list of lists of 4 to 8 numbers")] = field(
        default_factory=list
    )
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
    block: Count
    when: Literal["start", "end"]
    wall_s: Measured
    cpu_s: Measured
    started: Time
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
