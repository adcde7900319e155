"""How batches run in parallel: one contract (`Executor`), and one file for each way to keep it."""

from todobatch.executors.base import (
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    BatchRunner,
    Capabilities,
    Executor,
    Placement,
)
from todobatch.executors.elastic import Elastic
from todobatch.executors.registry import EXECUTORS, get
from todobatch.executors.stats import Resize, WorkerStats, resizes_of, stats_of
from todobatch.executors.wrapped import Wrapped

__all__ = [
    "EXECUTORS",
    "MAX_IN_FLIGHT",
    "MAX_WORKERS",
    "BatchRunner",
    "Capabilities",
    "Elastic",
    "Executor",
    "Placement",
    "Resize",
    "WorkerStats",
    "Wrapped",
    "get",
    "resizes_of",
    "stats_of",
]
