"""Running totals of a run: counts, the merged aggregate, the digest, the failures and causes."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias

from todobatch.coordinator.recovery import Settled
from todobatch.errors import UsageError
from todobatch.executors.base import MOST_WORKERS_NAMED
from todobatch.ipc.decoding import Only, from_json, within
from todobatch.model import (
    MAX_CAUSES_KEPT,
    MAX_FAILURES_KEPT,
    MAX_TASKS_NAMED,
    FailureCause,
    Frame,
    ProcessingResult,
    TaskFailure,
    WorkerTotals,
    describe_exception,
)
from todobatch.processors.base import DIGEST_MODULUS, TaskBatchProcessor

_COUNTS = (
    "tasks", "failed", "batches", "failed_batches", "retried", "replaced", "overran", "set_aside",
)  # fmt: skip

_NUMBER = re.compile(r"\d+")
_Key: TypeAlias = tuple[str, str, int]
Count: TypeAlias = Annotated[int, within(0, 2**62)]
_DIGEST = Only(lambda text: re.fullmatch("([0-9a-f]{64})?", text), "a digest of 64 digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """The totals as they are saved: what `Tally.state` returns."""

    tasks: Count
    failed: Count
    batches: Count
    failed_batches: Count
    retried: Count
    replaced: Count
    set_aside: Count
    digest: Annotated[str, _DIGEST]
    """Of the batches in which no task failed; empty if it is unknown."""
    partial: dict[str, Any] | None
    """The aggregate of the batches in which no task failed."""
    failed_digest: Annotated[str, _DIGEST] = f"{0:064x}"
    failed_partial: dict[str, Any] | None = None
    """The digest and the aggregate of the other batches, which a retry replaces."""
    workers: tuple[WorkerTotals, ...]
    failures: tuple[TaskFailure, ...]
    set_aside_tasks: tuple[TaskFailure, ...]
    errors: tuple[str, ...]
    overran: Count = 0
    causes: tuple[FailureCause, ...] = ()


@dataclass(slots=True)
class _Sum:
    """The aggregate and the digest of some batches."""

    partial: dict[str, Any] | None = None
    digest: int | None = 0
    """None when the digest of a batch is unknown."""

    def state(self) -> str:
        return "" if self.digest is None else f"{self.digest:064x}"


class Tally:
    """Adds results up. Its memory grows only with the number of groups in the aggregate.

    Batches in which tasks failed are added up separately, because a retry replaces their results.
    """

    def __init__(self, processor: TaskBatchProcessor) -> None:
        self._processor = processor
        self._sound, self._failing = _Sum(), _Sum()
        self._workers: dict[str, WorkerTotals] = {}
        self._failures: list[TaskFailure] = []
        self._errors: list[str] = []
        self.tasks = self.failed = self.batches = self.failed_batches = 0
        self.retried = self.replaced = self.overran = self.set_aside = 0
        self._set_aside: list[TaskFailure] = []
        self._causes = Causes()

    def add(self, settled: Settled) -> None:
        """Add a batch's final result. Raises UsageError when its aggregate cannot be merged."""
        self.retried += settled.retried
        self.replaced += settled.replaced
        self.overran += settled.overran
        self.set_aside += len(settled.set_aside)
        self._set_aside.extend(settled.set_aside[: MAX_FAILURES_KEPT - len(self._set_aside)])
        for part in settled.parts:
            self._add_worker(part)
        result = settled.result
        self.batches += 1
        self.tasks += result.tasks
        self.failed += result.tasks - result.tasks_processed
        total = self._sound if result.success else self._failing
        total.digest = _added(total.digest, result.digest)
        if not result.success:
            self.failed_batches += 1
            self._causes.add(settled.batch.first, result)
            self._failures.extend(result.failures[: MAX_FAILURES_KEPT - len(self._failures)])
            if result.error is not None and len(self._errors) < MAX_FAILURES_KEPT:
                self._errors.append(result.error)
        if result.partial:
            self._merge(total, result.partial, f"the aggregate of batch {result.batch}")
        self._add_worker(result)

    def totals(self) -> dict[str, Any]:
        """Return the fields of `BatchReport` that follow from the results."""
        whole = _Sum(self._sound.partial, _added(self._sound.digest, self._failing.digest))
        if self._failing.partial:
            whole.partial = deepcopy(whole.partial)  # `merge` may change what it gets
            self._merge(whole, deepcopy(self._failing.partial), "the aggregate of failed batches")
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "digest": whole.state(),
            "result": MappingProxyType(self._finish(whole.partial)),
            "failures": tuple(self._failures),
            "errors": tuple(self._errors),
            "causes": self._causes.all(),
            "set_aside_tasks": tuple(self._set_aside),
            "worker_totals": tuple(self._workers[name] for name in sorted(self._workers)),
        }

    def state(self) -> dict[str, Any]:
        """Return the totals as JSON. Raises UsageError when the aggregate is not JSON."""
        sums = self._sound, self._failing
        partials = [None if each.partial is None else dict(each.partial) for each in sums]
        try:
            same = json.loads(json.dumps(partials, allow_nan=False)) == partials
        except (TypeError, ValueError, RecursionError):
            same = False
        if not same:
            raise UsageError(
                "its aggregate changes when it is saved as JSON and read again",
                place=f"processor {self._processor.processor_id}",
                remedy="use dictionaries with strings as keys, lists, numbers and strings in "
                "`summarise` and `merge`; or run without `journal`",
            )
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "digest": self._sound.state(),
            "partial": partials[0],
            "failed_digest": self._failing.state(),
            "failed_partial": partials[1],
            "workers": [asdict(worker) for worker in self._workers.values()],
            "failures": [asdict(failure) for failure in self._failures],
            "set_aside_tasks": [asdict(failure) for failure in self._set_aside],
            "errors": list(self._errors),
            "causes": [asdict(cause) for cause in self._causes.all()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the totals to those that `state` returned. Raises UsageError for anything else."""
        saved = from_json(Totals, state)
        for name in _COUNTS:
            setattr(self, name, getattr(saved, name))
        self._sound = _Sum(saved.partial, _number(saved.digest))
        self._failing = _Sum(saved.failed_partial, _number(saved.failed_digest))
        self._workers = {worker.worker: worker for worker in saved.workers}
        self._failures, self._errors = list(saved.failures), list(saved.errors)
        self._set_aside = list(saved.set_aside_tasks)
        self._causes = Causes(saved.causes)

    def _finish(self, partial: dict[str, Any] | None) -> dict[str, Any]:
        try:
            return dict(self._processor.finish(partial or {}))
        except Exception as error:
            raise UsageError(
                f"`finish` failed after all batches were done: {describe_exception(error)}",
                place=f"processor {self._processor.processor_id}",
                remedy="`finish` must accept any aggregate that `summarise` and `merge` return, "
                "and an empty one",
            ) from error

    def _merge(self, total: _Sum, partial: Mapping[str, Any], what: str) -> None:
        """Add an aggregate to a total; `what` names it in errors."""
        if total.partial is None:
            total.partial = dict(partial)
            return
        try:
            total.partial = self._processor.merge(total.partial, partial)
        except Exception as error:
            raise UsageError(
                f"{what} cannot be merged: {describe_exception(error)}",
                place=f"processor {self._processor.processor_id}",
                remedy="`merge` must join any two aggregates that `summarise` returns",
            ) from error

    def _add_worker(self, result: ProcessingResult) -> None:
        seen = result.seen
        if seen.pid is None:
            return  # the worker died before it reported
        name = seen.worker
        if name not in self._workers and len(self._workers) >= MOST_WORKERS_NAMED:
            name = "others"
        old = self._workers.get(name)
        cpu = set() if seen.cpu is None else {seen.cpu}
        self._workers[name] = WorkerTotals(
            worker=name,
            pid=seen.pid,
            batches=1 + (old.batches if old else 0),
            tasks=result.tasks_processed + (old.tasks if old else 0),
            busy_s=result.duration + (old.busy_s if old else 0.0),
            gil_before=old.gil_before if old else seen.gil_before,
            gil_after=seen.gil_after or (old is not None and old.gil_after),
            cpus=tuple(sorted(cpu.union(old.cpus if old else ()))),
        )


def without_failed(state: Mapping[str, Any], batches: int, tasks: int) -> dict[str, Any]:
    """Return what `Tally.state` returned, without the batches in which tasks failed.

    These are `batches` batches with `tasks` tasks. Their retries and workers still count.
    """
    return {
        **state,
        "tasks": state["tasks"] - tasks,
        "batches": state["batches"] - batches,
        **dict.fromkeys(("failed", "failed_batches", "set_aside"), 0),
        "failed_digest": _Sum().state(),
        "failed_partial": None,
        **{name: [] for name in ("failures", "set_aside_tasks", "errors", "causes")},
    }


def _added(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else (a + b) % DIGEST_MODULUS


def _number(digest: str) -> int | None:
    return int(digest, 16) if digest else None


class Causes:
    """The first `MAX_CAUSES_KEPT` causes of a run's failures. Its memory does not grow further."""

    def __init__(self, known: Sequence[FailureCause] = ()) -> None:
        self._found = {_key(each.error, each.frame): each for each in known[:MAX_CAUSES_KEPT]}

    def add(self, first: int, result: ProcessingResult) -> None:
        """Add the failures of a batch whose first task has the position `first`."""
        for failure in result.failures:
            self._add(failure, 1)
        # A user's own `process_batch` may report tasks as failed without naming them.
        unnamed = result.tasks - result.tasks_processed - len(result.failures)
        if unnamed > 0:
            error = result.error or "it failed without an error message"
            self._add(TaskFailure(first, "", error, result.frame), unnamed)

    def all(self) -> tuple[FailureCause, ...]:
        """Return the causes in the order in which they were found."""
        return tuple(self._found.values())

    def _add(self, failure: TaskFailure, count: int) -> None:
        key = _key(failure.error, failure.frame)
        old = self._found.get(key)
        if old is None:
            if len(self._found) < MAX_CAUSES_KEPT:
                cause = FailureCause(count, (failure.task,), failure.error, failure.frame)
                self._found[key] = cause
            return
        tasks = (*old.tasks, failure.task)[:MAX_TASKS_NAMED]
        self._found[key] = replace(old, count=old.count + count, tasks=tasks)


def _key(error: str, frame: Frame | None) -> _Key:
    """Return what errors of the same cause have in common."""
    if frame is None:  # the numbers are those of processes, batches and tasks
        return _NUMBER.sub("#", error), "", 0
    kind, _, _ = error.partition(":")
    return kind, frame.file, frame.line
