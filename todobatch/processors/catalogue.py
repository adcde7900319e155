"""Finds built-in workloads by name, and loads a user's own."""

import datetime as dt
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Literal

from todobatch.errors import UsageError, did_you_mean
from todobatch.model import Task, describe_exception
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
    check_workload(workload)
    if workload in WORKLOADS:
        return WORKLOADS[workload].processor(today=today)
    return _processor_of(_load(workload), workload, today, "`workload`")


def as_processor(processor: TaskBatchProcessor | Callable[[Task], Any] | str) -> TaskBatchProcessor:
    """Return a processor for a name or a function; a processor is returned as it is.

    Raises UsageError for anything else, and what `resolve` raises.
    """
    if isinstance(processor, str):
        return resolve(processor)
    if isinstance(processor, TaskBatchProcessor):
        return processor
    name = getattr(processor, "__qualname__", None)
    named = f"{processor.__module__}:{name}" if name else repr(processor)
    return _processor_of(processor, named, None, "`processor`")


def _processor_of(
    target: object, name: str, today: dt.date | None, place: str
) -> TaskBatchProcessor:
    if isinstance(target, type) and issubclass(target, TaskBatchProcessor):
        try:
            return target(today=today)
        except Exception as error:
            raise UsageError(
                f"{name}(today=...) raised {describe_exception(error)}",
                place=place,
                remedy="the class must accept `today` and define process_task",
            ) from error
    if not callable(target):
        raise UsageError(
            f"{name} is of type {type(target).__name__} and cannot be called",
            place=place,
            remedy="give a function of one Task, or a subclass of TaskBatchProcessor",
        )
    return FunctionProcessor(target, processor_id=name, today=today)


def check_workload(workload: str) -> None:
    """Raise UsageError for a name that no workload can have; nothing is imported.

    The name is that of a built-in workload, or ``package.module:function``. A path is refused, and
    the remedy names its module.
    """
    if workload in WORKLOADS:
        return
    module, _, attribute = workload.partition(":")
    if "/" in module or "\\" in module or module.endswith(".py"):
        raise UsageError(
            f"{workload} is a path, not the name of a module",
            place="`workload`",
            remedy=_named_by_module(PurePath(module), attribute or "FUNCTION"),
        )
    if ":" not in workload:
        package, _, function = workload.rpartition(".")
        own = f"; did you mean {package}:{function}?" if package and function else ""
        raise UsageError(
            f"unknown workload {workload!r}{own or did_you_mean(workload, WORKLOADS)}",
            place="`workload`",
            remedy=f"choose one of {', '.join(WORKLOADS)}, or name your own as "
            "package.module:function",
        )
    if not module or not attribute:
        raise UsageError(
            f"{workload} names no {'function' if module else 'module'}",
            place="`workload`",
            remedy="name a module and a function in it, as package.module:function",
        )


def _named_by_module(path: PurePath, attribute: str) -> str:
    """Return how to name a function of a file by its module."""
    path = path.with_suffix("") if path.suffix == ".py" else path
    if path.is_absolute() or ".." in path.parts or str(path).startswith("~"):
        return f"write {path.name}:{attribute}, and add {path.parent} to PYTHONPATH"
    return f"write {'.'.join(path.parts)}:{attribute}"


def _load(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module may raise anything
        near = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            near = did_you_mean(module_name, _modules_here())
        raise UsageError(
            f"{name} cannot be loaded: {describe_exception(error)}{near}",
            place="`workload`",
            remedy="the module must be importable from the current folder or PYTHONPATH, with all "
            "that it imports",
        ) from error
    where = f"module {module_name}"
    for part in attribute.split("."):
        try:
            target = getattr(target, part)
        except Exception as error:  # a module may have a `__getattr__` of its own
            raise UsageError(
                f"{where} has no {part}{did_you_mean(part, _callables_of(target))}",
                place="`workload`",
                remedy="name a function or a class that is defined there",
            ) from error
        where = part
    return target


def _modules_here() -> Iterable[str]:
    """Return the names of the modules in the current folder, if Python looks for modules there."""
    try:
        here = {"", str(Path.cwd())}
    except OSError:  # the folder has been removed
        return []
    return [each.name for each in pkgutil.iter_modules(path for path in sys.path if path in here)]


def _callables_of(target: Any) -> list[str]:
    names = getattr(target, "__dict__", {})
    return [name for name, value in names.items() if callable(value) and name[:1] != "_"]
