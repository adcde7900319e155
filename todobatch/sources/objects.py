"""Decodes JSON for the formats that hold it, and notices a key that an object has twice.

Python's decoder keeps the last of two values, so the first would be lost.
"""

import json
import sys
from typing import Any

from todobatch.ipc.decoding import repeated_key
from todobatch.sources.fields import FieldError, show


class _Repeating(dict[str, Any]):
    """An object that has a key twice."""

    key: str | None = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) == len(pairs):
        return values
    repeating = _Repeating(values)
    repeating.key = repeated_key(pairs)
    return repeating


DECODER = json.JSONDecoder(object_pairs_hook=_object)
"""Decodes JSON as `json.loads` does; pass each record that it returns to `check_keys`."""


def check_keys(values: dict[str, Any]) -> None:
    """Raise FieldError if the record has a key twice. Objects in it are not read, so not checked.

    `values` comes from `DECODER`.
    """
    if isinstance(values, _Repeating):
        raise FieldError(f"the key {show(values.key)} appears twice", "give each key once")


def long_number() -> str:
    """Return the cause if the decoder raises a ValueError of another class than its own."""
    return f"a number has more than {sys.get_int_max_str_digits():,} digits"
