"""How batches run side by side: one contract, one small file each."""

from todobatch.executors.base import (
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    BatchRunner,
    Capabilities,
    Executor,
    Resize,
    WorkerStats,
    resizes_of,
    stats_of,
)
from todobatch.executors.elastic import Elastic
from todobatch.executors.registry import EXECUTORS, get
from todobatch.executors.wrapped import Wrapped

__all__ = [
    "EXECUTORS",
    "MAX_IN_FLIGHT",
    "MAX_WORKERS",
    "BatchRunner",
    "Capabilities",
    "Elastic",
    "Executor",
    "Resize",
    "WorkerStats",
    "Wrapped",
    "get",
    "resizes_of",
    "stats_of",
]
