"""How batches run side by side: one contract, one small file each."""

from todobatch.executors.base import (
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    Capabilities,
    Executor,
    Run,
    WorkerStats,
    stats_of,
)
from todobatch.executors.registry import EXECUTORS, get
from todobatch.executors.wrapped import Wrapped

__all__ = [
    "EXECUTORS",
    "MAX_IN_FLIGHT",
    "MAX_WORKERS",
    "Capabilities",
    "Executor",
    "Run",
    "WorkerStats",
    "Wrapped",
    "get",
    "stats_of",
]
