"""Workloads whose true differences are known: one unit, repeated, plus a given percentage.

`pairs.py` gives it to todobatch as workloads (``benchmarks.peers.known:json_5`` does 5 % more work
than ``json_0``), and to pyperf and asv as plain calls. It imports the standard library only.
"""

import json
from collections.abc import Callable
from typing import Any

EFFECTS = (0, 2, 5, 10)
"""How much more work B does than A, in percent."""

_RECORD = {"title": "water the plants", "priority": 3, "done": False, "projects": ["garden"]}
_WORDS = ["call", "the", "plumber", "about", "the", "kitchen", "sink", "before", "the", "weekend"]
_NUMBERS = [(n * 7919) % 101 for n in range(24)]


def _arithmetic() -> None:
    total = 0
    for n in range(40):
        total += n * n


def _json() -> None:
    json.loads(json.dumps(_RECORD))


def _text() -> None:
    counts: dict[str, int] = {}
    for word in _WORDS:
        key = word.upper().strip("AEIOU")
        counts[key] = counts.get(key, 0) + len(word)


def _sorting() -> None:
    sorted(_NUMBERS, key=lambda n: -n)


# The unit of each kind of work, and how many of them take about a millisecond.
WORKS: dict[str, tuple[Callable[[], None], int]] = {
    "arithmetic": (_arithmetic, 500),
    "json": (_json, 200),
    "text": (_text, 400),
    "sorting": (_sorting, 400),
}


def call(work: str, effect: int) -> None:
    """Do about a millisecond of one kind of work, plus `effect` percent."""
    unit, times = WORKS[work]
    for _ in range(times * (100 + effect) // 100):
        unit()


def ten_microseconds(task: Any) -> int:
    """Compute for about ten microseconds."""
    total = len(task.title)
    for n in range(500):
        total += n * n
    return total


def _workload(work: str, effect: int) -> Callable[[Any], None]:
    def workload(task: Any) -> None:
        del task
        call(work, effect)

    return workload


for _work in WORKS:
    for _effect in EFFECTS:
        globals()[f"{_work}_{_effect}"] = _workload(_work, _effect)
