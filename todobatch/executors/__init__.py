"""How batches run side by side: one contract, one small file each."""

from todobatch.executors.base import MAX_IN_FLIGHT, MAX_WORKERS, Capabilities, Executor, Run
from todobatch.executors.registry import EXECUTORS, get

__all__ = ["EXECUTORS", "MAX_IN_FLIGHT", "MAX_WORKERS", "Capabilities", "Executor", "Run", "get"]
