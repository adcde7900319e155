"""The records that `todobatch run` and its job's process exchange: `Job` and `JobReport`."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from todobatch import runtime
from todobatch.coordinator.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_EXECUTOR,
    DEFAULT_WORKERS,
    Order,
    Recovery,
)
from todobatch.errors import UsageError
from todobatch.executors.base import Placement
from todobatch.executors.stats import Resize, WorkerStats
from todobatch.ipc.decoding import to_json
from todobatch.model import BatchReport
from todobatch.units import Bytes, Seconds

ChangedCode = Literal["stop", "keep"]
"""Whether a job with a journal ends with an error when its code has changed, or keeps its rows."""
STDOUT = "-"
"""The name of an output that is standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The description of a job. Give either `input` or `generate`.

    Raises UsageError when both or neither are given.
    """

    input: str | None = None
    """The path of a file of tasks."""
    input_name: str | None = None
    """The name of the input in errors, if it is not its path."""
    format: str | None = None
    """The format of the input file, if its name does not show it."""
    generate: int | None = None
    """How many tasks to generate instead of reading a file."""
    seed: int = 0
    strict: bool = False
    """Whether the first broken record of the input ends the job."""
    workload: str = "pipeline"
    today: dt.date = field(default_factory=runtime.today)
    """The date that due dates are compared with."""
    executor: str = DEFAULT_EXECUTOR
    workers: int = DEFAULT_WORKERS
    """The number of workers; the highest number if `least_workers` is given."""
    least_workers: int | None = None
    """The lowest number of workers of the executor `elastic`."""
    placement: Placement = "none"
    batch_size: int | None = None
    """Tasks in a batch. By default `DEFAULT_BATCH_SIZE`, and batches of slow tasks are split."""
    order: Order = "input"
    recovery: Recovery = field(default_factory=Recovery)
    output: str | None = None
    """The file of the rows; "-" is the descriptor that comes with the job."""
    force: bool = False
    """Whether to replace an output that this job did not write."""
    journal: str | None = None
    """The file that records the job's progress, so that it can be resumed."""
    changed_code: ChangedCode = "stop"
    """What to do when the workload's code has changed since tasks were done."""
    costs: str | None = None
    """The file that records how long each batch took."""

    def __post_init__(self) -> None:
        if (self.input is None) == (self.generate is None):
            raise UsageError(
                "a job needs either an input or a number of tasks to generate",
                place="`input`",
                remedy="pass `input` or `generate`, and not both",
            )

    @property
    def tasks_a_batch(self) -> int:
        """Return the number of tasks in a full batch."""
        return DEFAULT_BATCH_SIZE if self.batch_size is None else self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsUsed:
    """How a job used its file of costs."""

    file: str
    before: int
    """How many batches the file held before the job."""
    measured: int
    """How many batches the job measured."""
    error: str | None = None
    """Why they could not be saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport(BatchReport):
    """The result of a job: the report of its batches, and facts about its process."""

    worker_stats: tuple[WorkerStats, ...] = ()
    resizes: tuple[Resize, ...] = ()
    least_workers: int | None
    gil_enabled: bool
    """Whether the GIL was on in a worker or at the end of the job."""
    gil_came_back: bool
    """Whether the GIL was off when the job began and on at its end."""
    skipped: int
    """The number of broken records in the input."""
    left_out: Mapping[str, int]
    """The numbers of records in the input that are not tasks, by kind."""
    cpu_s: Seconds
    peak_bytes: Bytes
    """Peak memory of all processes of the job."""
    peak_method: str
    """How the peak was measured."""
    output: str | None
    """The file with the rows; a `.part` file when the job is not complete."""
    order: Order
    costs: CostsUsed | None
    journal: str | None
    runs: int
    """How many times the job was begun or resumed, this time included."""
    journal_s: Seconds
    """The seconds spent on saving the journal."""
    code_versions: int = 1
    """With how many versions of the workload's code the job has run, as the journal knows."""

    def document(self) -> dict[str, Any]:
        """Return the report as `to_json` does, with the efficiency of each worker added."""
        record: dict[str, Any] = to_json(self)
        for each, stats in zip(record["worker_stats"], self.worker_stats, strict=True):
            each["efficiency"] = stats.efficiency
        return record
