"""Checks the results of a user's own `process_batch`, which may return anything.

A result that contradicts itself would falsify the totals. Results that `TaskBatchProcessor` makes
are correct, and are not checked.
"""

import json
from collections.abc import Mapping
from typing import Any

from todobatch.model import Batch, Frame, ProcessingResult, TaskFailure, describe_exception
from todobatch.processors.base import TaskBatchProcessor

_NUMBERS = (int, float)


def has_its_own_results(processor: TaskBatchProcessor) -> bool:
    """Return whether a user's code makes the processor's results, so that they must be checked."""
    built_in = type(processor).result_of is TaskBatchProcessor.result_of
    return not (built_in and processor.splittable)


def what_is_wrong(result: Any, batch: Batch, *, keep_rows: bool) -> str | None:
    """Return what is wrong with a batch's result, such as 'a duration of nan'; None if nothing is.

    It takes about 1 µs, and with `keep_rows` as long as `json.dumps` of the rows.
    """
    try:
        return _what_is_wrong(result, batch, keep_rows=keep_rows)
    except Exception as error:  # fields may hold anything
        return f"a result whose fields cannot be read: {describe_exception(error)}"


def _what_is_wrong(  # noqa: C901
    result: Any, batch: Batch, *, keep_rows: bool
) -> str | None:
    if not isinstance(result, ProcessingResult):
        return f"{type(result).__name__}, not a ProcessingResult"
    size, done, failures, rows = len(batch), result.tasks_processed, result.failures, result.rows
    if not isinstance(result.duration, _NUMBERS) or not 0 <= result.duration < float("inf"):
        return f"a duration of {result.duration!r}"
    if not isinstance(result.started, _NUMBERS) or not abs(result.started) < float("inf"):
        return f"{result.started!r} as `started`, which must be a finite number"
    if not isinstance(done, int) or not 0 <= done <= size:
        return f"{done!r} tasks processed, of a batch of {size}"
    if not isinstance(result.digest, int) or result.digest < 0:
        return f"{result.digest!r} as `digest`, which must be a whole number from 0 up"
    if not isinstance(result.partial, Mapping):
        return f"{type(result.partial).__name__} as `partial`, which must be a mapping"
    if result.error is not None and not isinstance(result.error, str):
        return f"{type(result.error).__name__} as `error`, which must be text or None"
    if not isinstance(result.frame, Frame | None):
        return f"{type(result.frame).__name__} as `frame`, which must be a Frame or None"
    if not isinstance(failures, tuple):
        return f"{type(failures).__name__} as `failures`, which must be a tuple"
    if failures and (wrong := _wrong_failures(failures, batch, done)):
        return wrong
    if result.success and done != size:
        return f"`success`, but only {done} of {size} tasks processed"
    if rows is not None and (not isinstance(rows, tuple) or len(rows) != size):
        count = f" of {len(rows)}" if isinstance(rows, tuple) else ""
        return f"{type(rows).__name__}{count} as `rows`, which must be a tuple of {size}"
    if rows is not None and keep_rows:
        try:
            json.dumps(rows, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            return f"rows that are not JSON: {describe_exception(error)}"
    return None


def _wrong_failures(failures: tuple[Any, ...], batch: Batch, done: int) -> str | None:
    for failure in failures:
        if not isinstance(failure, TaskFailure):
            return f"{type(failure).__name__} among `failures`, which must be TaskFailure"
        if not isinstance(failure.frame, Frame | None):
            return f"a failure with {type(failure.frame).__name__} as `frame`"
        if not batch.first <= failure.task < batch.first + len(batch):
            return f"a failure of task {failure.task}, which is not in the batch"
    if done + len({failure.task for failure in failures}) > len(batch):
        return f"{done} tasks processed and {len(failures)} failed, of a batch of {len(batch)}"
    return None
