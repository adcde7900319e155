"""todobatch: which way should this batch job run in parallel, and how sure are we?

The names below are the public API; the rest of the package is reached by its module.
Importing it needs the standard library only, so that it loads in a subinterpreter too.
"""

from todobatch.collectors import ThreadSafeResultCollector
from todobatch.coordinator import run_batch_processing_system, run_batches
from todobatch.errors import TodobatchError
from todobatch.model import Batch, BatchReport, ProcessingResult, Task, TaskFailure
from todobatch.processors import (
    TaskBatchProcessor,
    TaskProcessor,
    TaskReporter,
    TaskValidator,
)

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "BatchReport",
    "ProcessingResult",
    "Task",
    "TaskBatchProcessor",
    "TaskFailure",
    "TaskProcessor",
    "TaskReporter",
    "TaskValidator",
    "ThreadSafeResultCollector",
    "TodobatchError",
    "__version__",
    "run_batch_processing_system",
    "run_batches",
]
