"""Reads JSON Lines: one object a line, with keys named like `Task`'s fields."""

import json
from collections.abc import Iterator
from typing import Any

from todobatch.model import Task
from todobatch.sources.base import Input, Reading, read_lines
from todobatch.sources.fields import FieldError, show
from todobatch.sources.objects import DECODER, check_keys, long_number
from todobatch.sources.records import NAMES, task_from

_KNOWN = frozenset(NAMES)
_REMEDY = "write one JSON object a line, as json.dumps does"


def read(source: Input, reading: Reading) -> Iterator[Task]:
    """Yield the tasks of a JSON Lines input; blank lines are skipped."""
    for number, line in read_lines(source, reading):
        if not line.strip():
            continue
        try:
            values = _object(line)
            task = task_from(values)
        except FieldError as error:
            reading.broken_field(number, error)
            continue
        for name in values.keys() - _KNOWN:
            reading.skip(f"unknown key {show(name)}")
        yield task


def _object(line: str) -> dict[str, Any]:
    try:
        values = DECODER.decode(line)
    except json.JSONDecodeError as error:
        raise FieldError(f"not JSON: {error.msg} (column {error.colno})", _REMEDY) from None
    except ValueError:
        raise FieldError(long_number(), _REMEDY) from None
    except RecursionError:
        raise FieldError("the JSON is nested too deeply", _REMEDY) from None
    if not isinstance(values, dict):
        raise FieldError(f"the line is not a JSON object: {show(values)}", _REMEDY)
    check_keys(values)
    return values
