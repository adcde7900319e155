"""Turns a stream of tasks into a report: it makes batches, orders, retries and saves them.

The names in `__all__` are loaded on first use, so that `options` alone loads fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from todobatch.coordinator.batching import batched
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.drive import run_batch_processing_system, run_batches
    from todobatch.coordinator.options import Hooks, Order, Recovery
    from todobatch.coordinator.order import longest_first, urgent_first

__all__ = [
    "Costs",
    "Hooks",
    "Order",
    "Recovery",
    "batched",
    "longest_first",
    "run_batch_processing_system",
    "run_batches",
    "urgent_first",
]

_MODULES = {
    "Costs": "costs",
    "Hooks": "options",
    "Order": "options",
    "Recovery": "options",
    "batched": "batching",
    "longest_first": "order",
    "run_batch_processing_system": "drive",
    "run_batches": "drive",
    "urgent_first": "order",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'todobatch.coordinator' has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
