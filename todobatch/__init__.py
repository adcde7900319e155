"""todobatch: which way should this batch job run in parallel, and how sure are we?

The names in `__all__` are the public API; the rest of the package is reached by its module.
They are loaded on first use, so that the command line answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from todobatch.collectors import (
        PerWorkerResultCollector,
        QueueResultCollector,
        ThreadSafeResultCollector,
    )
    from todobatch.coordinator.batching import batched
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.drive import run_batch_processing_system, run_batches
    from todobatch.coordinator.options import Hooks, Recovery
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
    "Costs",
    "Hooks",
    "PerWorkerResultCollector",
    "ProcessingResult",
    "QueueResultCollector",
    "Recovery",
    "Task",
    "TaskBatchProcessor",
    "TaskFailure",
    "TaskProcessor",
    "TaskReporter",
    "TaskValidator",
    "ThreadSafeResultCollector",
    "TodobatchError",
    "__version__",
    "batched",
    "run_batch_processing_system",
    "run_batches",
]

_HOMES = {
    "model": ("Batch", "BatchReport", "ProcessingResult", "Task", "TaskFailure"),
    "processors": ("TaskBatchProcessor", "TaskProcessor", "TaskReporter", "TaskValidator"),
    "collectors": (
        "PerWorkerResultCollector",
        "QueueResultCollector",
        "ThreadSafeResultCollector",
    ),
    "coordinator.batching": ("batched",),
    "coordinator.costs": ("Costs",),
    "coordinator.drive": ("run_batch_processing_system", "run_batches"),
    "coordinator.options": ("Hooks", "Recovery"),
    "errors": ("TodobatchError",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'todobatch' has no attribute {name!r}")
    value = getattr(import_module(f"todobatch.{_HOME_OF[name]}"), name)
    globals()[name] = value  # cached for the next look-up
    return value
