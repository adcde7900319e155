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

# Where the names are looked for: cheap modules first.
_HOMES = (
    *("model", "errors", "collectors", "coordinator.options", "coordinator.batching"),
    *("coordinator.costs", "processors", "coordinator.drive"),
)


def __getattr__(name: str) -> Any:
    for home in _HOMES if name in __all__ else ():
        module = import_module(f"{__name__}.{home}")
        if hasattr(module, name):
            return globals().setdefault(name, getattr(module, name))  # for the next look-up
    raise AttributeError(f"module 'todobatch' has no attribute {name!r}")
