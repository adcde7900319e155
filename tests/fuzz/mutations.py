"""Damage to a JSON document or its text, drawn from a `random.Random`: a seed gives one input."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

DEEP = "«deep»"
"""Stands for lists in lists, deeper than a parser can follow."""
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**9, 2**63, -(2**70), 10**400, 0.0, -0.5, 1e-320, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", "1", "x", "true", "\x1b[2J", "a\nb", "\0"),
    *("\ud800", "\u202e", "[/]", "[click](javascript:1)", "=1+1", "../../x", "./x/python", "m:f"),
    *("x" * 5_000, "2026-13-45", "0001-01-01", "9999-12-31T23:59:59+00:00", DEEP),
    *([], {}, [[]], [None], [{}], {"": {}}, [0] * 300, {"a": {"b": [1, {"c": "d"}]}}),
)
TOKENS = (
    b"",
    b"\0",
    b"\xff",
    b"{",
    b"]",
    b",",
    b'"',
    b"\n",
    b"NaN",
    b"1e999",
    b"\\u0000",
    b"[" * 9,
)


def damaged(value: Any, dice: random.Random) -> Any:
    """The document with one to three changes at random places; they may change `value` itself."""
    whole = [value]
    for _ in range(dice.randint(1, 3)):
        holder, key = _place(whole, dice)
        dice.choice(CHANGES)(holder, key, whole, dice)
    return whole[0] if whole else None


def text_of(value: Any) -> bytes:
    """The document as JSON on one line."""
    text = json.dumps(value).replace(json.dumps(DEEP), "[" * 20_000 + "]" * 20_000)
    return text.encode()


def damaged_json(text: bytes, dice: random.Random) -> bytes:
    """The JSON document with random changes; one in ten times they may break its syntax."""
    if dice.random() < 0.1:
        return damaged_text(text, dice)
    return text_of(damaged(json.loads(text), dice))


def damaged_text(text: bytes, dice: random.Random) -> bytes:
    """The text with a few bytes changed, cut off, or put elsewhere."""
    data = bytearray(text)
    for _ in range(dice.randint(1, 3)):
        at = dice.randint(0, len(data))
        end = min(len(data), at + dice.choice((0, 1, 2, 9, 100, 10_000)))
        what = dice.randint(0, 3)
        if what == 0:
            data[at:end] = dice.choice(TOKENS)
        elif what == 1:
            del data[at:end]
        elif what == 2:
            data[at:at] = data[at:end]
        else:
            data[at:end] = bytes(dice.randint(0, 255) for _ in range(min(end - at, 4)))
    return bytes(data)


def _place(whole: list[Any], dice: random.Random) -> tuple[Any, Any]:
    """A random place in the document: what holds it, and its key or index there."""
    holder: Any = whole
    key: Any = 0
    while True:
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or dice.random() < 0.1:
            return holder, key
        holder = inner
        key = dice.choice(list(inner)) if isinstance(inner, dict) else dice.randrange(len(inner))


def _replace(holder: Any, key: Any, _whole: list[Any], dice: random.Random) -> None:
    holder[key] = copy.deepcopy(dice.choice(NASTY))


def _remove(holder: Any, key: Any, whole: list[Any], _dice: random.Random) -> None:
    if holder is not whole:
        del holder[key]


def _double(holder: Any, key: Any, whole: list[Any], _dice: random.Random) -> None:
    if isinstance(holder, list) and holder is not whole:
        holder.insert(key, copy.deepcopy(holder[key]))
    elif isinstance(holder, dict):
        holder[f"{key}2"] = copy.deepcopy(holder[key])


def _swap(holder: Any, key: Any, whole: list[Any], dice: random.Random) -> None:
    other, place = _place(whole, dice)
    holder[key] = copy.deepcopy(other[place])


def _shift(holder: Any, key: Any, _whole: list[Any], dice: random.Random) -> None:
    value = holder[key]
    if isinstance(value, int | float):
        holder[key] = dice.choice(
            (value + 1, value - 1, -value, value * 10, value // 7, str(value))
        )
    elif isinstance(value, str):
        holder[key] = dice.choice(
            (value[1:], value * 2, value.upper(), value + "\u202e", f" {value}")
        )


Change = Callable[[Any, Any, list[Any], random.Random], None]
CHANGES: tuple[Change, ...] = (_replace, _replace, _remove, _double, _swap, _shift)
