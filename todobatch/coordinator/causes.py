"""Groups failed tasks by their cause, so that many failures of one kind make one line."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from todobatch.model import (
    MAX_CAUSES_KEPT,
    MAX_TASKS_NAMED,
    FailureCause,
    Frame,
    ProcessingResult,
    TaskFailure,
)

_NUMBER = re.compile(r"\d+")
_Key: TypeAlias = tuple[str, str, int]


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
