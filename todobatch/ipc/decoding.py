"""Converts frozen dataclasses to and from JSON, and checks every field.

Supported types are the numbers, text, dates, `Literal`, unions, tuples, lists, mappings with text
as keys, `Any`, typed dictionaries, and further dataclasses. ``Annotated`` adds conditions: `Only`,
`within`, `As` and `NULL_IS_NAN`.
"""

import datetime as dt
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from todobatch.errors import UsageError

T = TypeVar("T")

MOST_NESTED = 20
"""A value of type `Any` is nested at most this deep, if it is decoded as `loose`."""
LARGEST_NUMBER = 1e300
"""A number is at most this far from 0."""
_ATOMS = frozenset({str, int, bool})
NULL_IS_NAN = object()
"""Marks a number that is null in JSON when it is not a number."""


@dataclass(frozen=True, slots=True)
class Only:
    """A condition on a decoded value, and in words what it demands."""

    holds: Callable[[Any], object]
    wanted: str


@dataclass(frozen=True, slots=True)
class As:
    """Checks a dictionary as if it were of this type, and keeps it a dictionary."""

    kind: Any


def within(low: float, high: float) -> Only:
    """Demand a number from `low` to `high`."""
    return Only(lambda number: low <= number <= high, f"a number from {low:g} to {high:g}")


def to_json(value: Any) -> Any:
    """Return the value in a form for `json.dumps`: a dataclass becomes a dictionary."""
    if is_dataclass(value):
        return {each.name: to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    return value.isoformat() if isinstance(value, dt.date) else value


def from_json(kind: type[T], data: Any, *, place: str = "", loose: bool = False) -> T:
    """Make an object of the dataclass or TypedDict `kind` from JSON, the reverse of `to_json`.

    Fields with a default may be missing. Raises UsageError for a field that is unknown, missing or
    of another type. The error names `place` (by default the dataclass) and the field. If `loose`,
    unknown fields are accepted, because a later version may have added them, and values of type
    `Any` must have finite numbers and little nesting.
    """
    place = place or kind.__name__
    if not isinstance(data, dict):
        raise _wrong(data, "an object", place)
    types, required = _fields_of(kind)  # type: ignore[arg-type]
    if not loose and (unknown := sorted(data.keys() - types.keys())):
        raise UsageError(
            f"`{unknown[0]}` is not a field", place=place, remedy=f"use {', '.join(types)}"
        )
    if missing := [name for name in required if name not in data]:
        raise UsageError(f"`{missing[0]}` is missing", place=place, remedy="add the field")
    keeps_all = is_typeddict(kind)
    return kind(**{
        name: _decoded(types.get(name, Any), value, f"{place}.{name}", loose)
        for name, value in data.items() if keeps_all or name in types
    })  # fmt: skip


@cache
def _fields_of(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the type of each field by its name, and the names of the fields without a default."""
    types = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        return types, sorted(kind.__required_keys__)
    known = [each for each in fields(kind) if each.init]
    required = [
        each.name for each in known if each.default is MISSING and each.default_factory is MISSING
    ]
    return {each.name: types[each.name] for each in known}, required


def _decoded(hint: Any, value: Any, place: str, loose: bool) -> Any:
    if hint in _ATOMS and type(value) is hint:
        return value
    origin, arguments = _parts_of(hint)
    if origin is Annotated:
        return _restricted(hint, value, place, loose)
    if origin is NotRequired:
        return _decoded(arguments[0], value, place, loose)
    if origin in {Union, UnionType}:
        return _first_that_fits(arguments, value, place, loose)
    if origin in {tuple, list} and isinstance(value, list):
        return origin(_items(hint, value, place, loose))
    if origin in {dict, Mapping} and isinstance(value, dict):
        return {
            key: _decoded(arguments[1], each, f"{place}.{key}", loose)
            for key, each in value.items()
        }
    if is_dataclass(hint) or is_typeddict(hint):
        return from_json(hint, value, place=place, loose=loose)
    if hint is Any and not loose:
        return value
    return _plain(hint, value, place)


@cache
def _parts_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _plain(hint: Any, value: Any, place: str) -> Any:
    if hint is dt.date and isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError as error:
            raise _wrong(value, "a date", place) from error
    if not _fits(hint, value):
        if hint is float and type(value) in {int, float} and abs(value) > LARGEST_NUMBER:
            shown = "the number" if abs(value) == math.inf else _SHORT.repr(value)
            raise UsageError(
                f"{shown} is too large", place=place, remedy=f"give at most {LARGEST_NUMBER:g}"
            )
        raise _wrong(value, _named(hint), place)
    return value


@cache
def _marks_of(hint: Any) -> tuple[Any, bool, tuple[Only, ...]]:
    """Return the plain type of an ``Annotated`` one, whether null is NaN, and the conditions."""
    plain, *marks = get_args(hint)
    kinds = [mark.kind for mark in marks if isinstance(mark, As)]
    conditions = tuple(mark for mark in marks if isinstance(mark, Only))
    return (kinds or [plain])[0], NULL_IS_NAN in marks, conditions


def _restricted(hint: Any, value: Any, place: str, loose: bool) -> Any:
    plain, null_is_nan, conditions = _marks_of(hint)
    if value is None and null_is_nan:
        return math.nan
    decoded = _decoded(plain, value, place, loose)
    for condition in conditions:
        if not condition.holds(decoded):
            raise _wrong(value, condition.wanted, place)
    return decoded


def _items(hint: Any, values: list[Any], place: str, loose: bool) -> list[Any]:
    origin, kinds = _parts_of(hint)
    if kinds == (Any,) and loose and _is_plain(values):
        return values
    if origin is list or kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(values)
    if len(kinds) != len(values):
        raise _wrong(values, f"a list of {len(kinds)}", place)
    return [
        _decoded(kind, each, f"{place}[{number}]", loose)
        for number, (kind, each) in enumerate(zip(kinds, values, strict=True))
    ]


def _fits(hint: Any, value: Any) -> bool:
    """Return whether the value is of a plain type or `Literal`; a bool is not a number here."""
    if hint is Any:
        return _is_plain(value)
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return type(value) in {int, float} and abs(value) <= LARGEST_NUMBER
    return type(value) is (NoneType if hint is None else hint)


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return whether a value is JSON with ordinary numbers and not too deeply nested."""
    kind = type(value)
    if kind is float or kind is int:
        return abs(value) <= LARGEST_NUMBER  # type: ignore[no-any-return]
    if kind is list or kind is dict:
        inner = value if kind is list else value.values()
        return depth < MOST_NESTED and all(_is_plain(each, depth + 1) for each in inner)
    return True


def _first_that_fits(hints: tuple[Any, ...], value: Any, place: str, loose: bool) -> Any:
    if value is None and NoneType in hints:
        return None
    hints = tuple(hint for hint in hints if hint is not NoneType)
    for hint in hints[:-1]:
        with suppress(UsageError):
            return _decoded(hint, value, place, loose)
    return _decoded(hints[-1], value, place, loose)


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(str, get_args(hint)))}"
    names = {
        str: "text", int: "a whole number", float: "a number", bool: "true or false",
        Any: f"JSON that is nested up to {MOST_NESTED} deep, with finite numbers",
        list: "a list", tuple: "a list", dict: "an object", Mapping: "an object",
    }  # fmt: skip
    return names.get(get_origin(hint) or hint, str(getattr(hint, "__name__", hint)))


def repeated_key(pairs: Sequence[tuple[str, Any]]) -> str | None:
    """Return the first key that occurs twice in an object, of which Python keeps the last only."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return None


class _Short(reprlib.Repr):
    """Shortens what is long or deep, and shows null, true and false as JSON has them."""

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 - named by the type
        del value, level
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        del level
        return "true" if value else "false"


_SHORT = _Short()


def _wrong(value: Any, wanted: str, place: str) -> UsageError:
    return UsageError(f"{_SHORT.repr(value)} is not {wanted}", place=place, remedy=f"give {wanted}")
