"""Converts frozen dataclasses to and from JSON, and checks the type of every field.

Supported types are the numbers, text, dates, `Literal`, unions, tuples of one type, mappings with
text as keys, `Any`, `TypedDict`, and further dataclasses.
"""

import datetime as dt
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from todobatch.errors import UsageError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return the value in a form for `json.dumps`: a dataclass becomes a dictionary."""
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def from_json(kind: type[T], data: Any, *, place: str = "") -> T:
    """Make an object of the dataclass or TypedDict `kind` from JSON, the reverse of `to_json`.

    Fields with a default may be missing. Raises UsageError for a field that is unknown, missing or
    of another type. The error names `place` (by default the dataclass) and the field.
    """
    place = place or kind.__name__
    if not isinstance(data, dict):
        raise _wrong(data, "an object", place)
    types, required = _fields_of(kind)  # type: ignore[arg-type]
    if unknown := sorted(data.keys() - types.keys()):
        raise UsageError(
            f"`{unknown[0]}` is not a field", place=place, remedy=f"use {', '.join(types)}"
        )
    if missing := [name for name in required if name not in data]:
        raise UsageError(f"`{missing[0]}` is missing", place=place, remedy="add the field")
    return kind(**{
        name: _decoded(types[name], value, f"{place}.{name}") for name, value in data.items()
    })  # fmt: skip


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the type of each field by its name, and the names of the fields without a default."""
    types = get_type_hints(kind)
    if is_typeddict(kind):
        return types, sorted(kind.__required_keys__)
    known = [each for each in fields(kind) if each.init]
    required = [
        each.name for each in known if each.default is MISSING and each.default_factory is MISSING
    ]
    return {each.name: types[each.name] for each in known}, required


def _decoded(hint: Any, value: Any, place: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return _first_that_fits(arguments, value, place)
    if origin is tuple and isinstance(value, list):
        return tuple(
            _decoded(arguments[0], each, f"{place}[{number}]") for number, each in enumerate(value)
        )
    if origin in {dict, Mapping} and isinstance(value, dict):
        return {key: _decoded(arguments[1], each, f"{place}.{key}") for key, each in value.items()}
    if is_dataclass(hint) or is_typeddict(hint):
        return from_json(hint, value, place=place)
    if hint is dt.date and isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError as error:
            raise _wrong(value, "a date", place) from error
    if not _fits(hint, value):
        raise _wrong(value, _named(hint), place)
    return value


def _fits(hint: Any, value: Any) -> bool:
    """Return whether the value is of a plain type or `Literal`; a bool is not a number here."""
    if hint is Any:
        return True
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return type(value) in {int, float} and isfinite(value)
    return type(value) is (NoneType if hint is None else hint)


def _first_that_fits(hints: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and NoneType in hints:
        return None
    hints = tuple(hint for hint in hints if hint is not NoneType)
    for hint in hints[:-1]:
        with suppress(UsageError):
            return _decoded(hint, value, place)
    return _decoded(hints[-1], value, place)


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, str(getattr(hint, "__name__", hint)))


def _wrong(value: Any, wanted: str, place: str) -> UsageError:
    return UsageError(f"{value!r} is not {wanted}", place=place, remedy=f"give {wanted}")
