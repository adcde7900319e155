"""The processors of batches: `TaskBatchProcessor`, built-in ones and their catalogue."""

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
