"""Finds built-in workloads by name, and loads a user's own."""

import datetime as dt
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from todobatch.errors import UsageError
from todobatch.model import describe_exception
from todobatch.processors.base import TaskBatchProcessor
from todobatch.processors.processor import TaskProcessor
from todobatch.processors.reporter import TaskReporter
from todobatch.processors.synthetic import (
    Alloc,
    Example8,
    FunctionProcessor,
    HotObject,
    Hybrid,
    IoWait,
    Native,
    Payload,
    Pipeline,
    Skewed,
)
from todobatch.processors.validator import TaskValidator
from todobatch.processors.web import Http
from todobatch.units import Seconds


@dataclass(frozen=True, slots=True)
class WorkloadInfo:
    """A built-in workload: its name, its kind of load, and the rough cost of a task.

    `task_seconds` is a rough estimate, used to choose the size of a first sample. `processor` makes
    the processor and accepts `today`.
    """

    name: str
    stresses: str
    kind: Literal["cpu", "io", "mixed"]
    task_seconds: Seconds
    processor: Callable[..., TaskBatchProcessor]


_ALL = (
    WorkloadInfo("validate", "many short checks of dates and fields", "cpu", 3e-6, TaskValidator),
    WorkloadInfo("process", "state transitions, urgency, recurrence", "cpu", 6e-6, TaskProcessor),
    WorkloadInfo("report", "aggregation into dictionaries", "cpu", 6e-6, TaskReporter),
    WorkloadInfo("pipeline", "validate, process and report in a row", "cpu", 15e-6, Pipeline),
    WorkloadInfo("example8", "pure computing", "cpu", 300e-6, Example8),
    WorkloadInfo("alloc", "many small objects created and freed", "cpu", 75e-6, Alloc),
    WorkloadInfo("hot-object", "one object and its lock, shared by all", "cpu", 50e-6, HotObject),
    WorkloadInfo("native", "C code that releases the GIL: zlib, SHA-256", "cpu", 350e-6, Native),
    WorkloadInfo("payload", "results of 4 KiB a task", "cpu", 25e-6, Payload),
    WorkloadInfo("skewed", "one task in 50 is 50 times heavier", "cpu", 25e-6, Skewed),
    WorkloadInfo("io-wait", "waiting 5 ms a task, as for a network", "io", 5e-3, IoWait),
    WorkloadInfo("http", "a real HTTP request a task, answered after 2 ms", "io", 2.3e-3, Http),
    WorkloadInfo("hybrid", "computing, then waiting 1 ms, each task", "mixed", 1.3e-3, Hybrid),
)
WORKLOADS: Mapping[str, WorkloadInfo] = MappingProxyType({info.name: info for info in _ALL})
"""Every built-in workload by its name."""


def resolve(workload: str, *, today: dt.date | None = None) -> TaskBatchProcessor:
    """Return the processor of a built-in workload, or of ``package.module:function``.

    The function takes one `Task` and returns a JSON value; it may be an ``async def``. The name may
    also be that of a subclass of `TaskBatchProcessor`. `today` is passed to the processor. Raises
    UsageError when the workload is unknown or cannot be loaded.
    """
    if workload in WORKLOADS:
        return WORKLOADS[workload].processor(today=today)
    if ":" not in workload:
        raise UsageError(
            f"unknown workload {workload!r}",
            place="`workload`",
            remedy=f"choose one of {', '.join(WORKLOADS)}, or name your own as "
            "package.module:function",
        )
    target = _load(workload)
    if isinstance(target, type) and issubclass(target, TaskBatchProcessor):
        try:
            return target(today=today)
        except Exception as error:
            raise UsageError(
                f"{workload}(today=...) raised {describe_exception(error)}",
                place="`workload`",
                remedy="the class must accept `today` and define process_task",
            ) from error
    if not callable(target):
        raise UsageError(
            f"{workload} is of type {type(target).__name__} and cannot be called",
            place="`workload`",
            remedy="name a function of one Task, or a subclass of TaskBatchProcessor",
        )
    return FunctionProcessor(target, processor_id=workload, today=today)


def _load(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            target = getattr(target, part)
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise UsageError(
            f"{name} cannot be loaded: {describe_exception(error)}",
            place="`workload`",
            remedy="the module must be importable from the current folder or PYTHONPATH",
        ) from error
    return target
