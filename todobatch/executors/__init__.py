"""The executors, which run batches in parallel: one contract, and one file for each."""

from collections.abc import Mapping
from types import MappingProxyType

from todobatch.errors import UsageError, did_you_mean
from todobatch.executors.base import (
    MAX_IN_FLIGHT,
    MAX_WORKERS,
    BatchRunner,
    Capabilities,
    Executor,
    Placement,
)
from todobatch.executors.coroutines import Coroutines
from todobatch.executors.elastic import Elastic
from todobatch.executors.interpreters import Interpreters
from todobatch.executors.processes import Processes
from todobatch.executors.sequential import Sequential
from todobatch.executors.stats import Resize, WorkerStats, resizes_of, stats_of
from todobatch.executors.stealing import Stealing
from todobatch.executors.threads import Threads
from todobatch.executors.wrapped import Wrapped

__all__ = [
    "EXECUTORS",
    "MAX_IN_FLIGHT",
    "MAX_WORKERS",
    "BatchRunner",
    "Capabilities",
    "Elastic",
    "Executor",
    "Placement",
    "Resize",
    "WorkerStats",
    "Wrapped",
    "get",
    "resizes_of",
    "stats_of",
]

_ALL: tuple[Executor, ...] = (
    Sequential(), Threads(), Stealing(), Elastic(), Interpreters(), Processes(), Coroutines(),
)  # fmt: skip

EXECUTORS: Mapping[str, Executor] = MappingProxyType({each.name: each for each in _ALL})
"""Every executor of todobatch by its name."""


def get(name: str) -> Executor:
    """Return the executor with this name. Raises UsageError if there is none."""
    if name not in EXECUTORS:
        raise UsageError(
            f"unknown executor {name!r}{did_you_mean(name, EXECUTORS)}",
            place="`executor`",
            remedy=f"choose one of {', '.join(EXECUTORS)}",
        )
    return EXECUTORS[name]
