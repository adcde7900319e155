"""The work that is done on a batch, and the catalogue of workloads."""

from todobatch.processors.base import TaskBatchProcessor
from todobatch.processors.catalogue import WORKLOADS, WorkloadInfo, resolve
from todobatch.processors.processor import TaskProcessor
from todobatch.processors.reporter import TaskReporter
from todobatch.processors.validator import TaskValidator

__all__ = [
    "WORKLOADS",
    "TaskBatchProcessor",
    "TaskProcessor",
    "TaskReporter",
    "TaskValidator",
    "WorkloadInfo",
    "resolve",
]
