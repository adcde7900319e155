"""Turns a stream of tasks into a report: it makes batches, orders, retries and saves them.

The public names are in `todobatch`. Code that imports them from here, where they were before,
still works.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Hooks": "options",
    "Recovery": "options",
    "batched": "batching",
    "run_batch_processing_system": "drive",
    "run_batches": "drive",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'todobatch.coordinator' has no attribute {name!r}")
