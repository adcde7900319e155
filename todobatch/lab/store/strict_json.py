"""Reads JSON that may come from a stranger, and refuses what has two meanings or none.

Run folders and pyperf files are read with it.
"""

import json
import sys
from typing import Any

from todobatch.errors import UsageError
from todobatch.ipc.decoding import repeated_key


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises ValueError for text that is not JSON, and UsageError for JSON that has two meanings or
    none: a key that occurs twice in an object, NaN, Infinity, and a number of thousands of digits.
    Raises RecursionError if the text is nested too deep.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # int() refuses very long numbers
        most = sys.get_int_max_str_digits()
        raise UsageError(f"it has a number of more than {most:,} digits") from error


def as_json(value: Any) -> str:
    """Return a value as JSON for a message, shortened to 40 characters."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _no_constant(constant: str) -> float:
    raise UsageError(f"{constant} is not a number in JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and (twice := repeated_key(pairs)) is not None:
        raise UsageError(f"the key {twice[:200]!r} occurs twice in one object")
    return found
