"""Translates errors for the command line: options take the place of Python's parameters.

The library speaks of parameters in backticks: `` `workers` ``, `` `placement="none"` ``. A user of
the command line knows options: ``--workers``, ``--placement none``. The options are those of the
command that was invoked.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

ALIASES = {
    "backoff_s": ("backoff",),
    "budget_s": ("budget",),
    "deadline_s": ("deadline",),
    "executor": ("executors",),
    "file": ("input_file",),
    "format": ("input_format",),
    "input": ("file", "input_file"),
    "input_file": ("file",),
    "interpreter": ("interpreters",),
    "least_workers": ("workers",),
    "limit": ("fail_on_slower",),
    "most": ("workers",),
    "watchdog_s": ("no_progress",),
    "workload": ("workloads",),
}
"""Parameters that a command may know by another name, tried after the name itself."""

_QUOTED = re.compile(r"`([a-z][a-z_]*)(?:=([^`]*))?`")


class _Spelling(NamedTuple):
    """How a parameter is written on the command line."""

    on: str
    off: str
    """What turns a flag off; empty where there is no such option."""


def in_options(text: str, parameters: Sequence[Any]) -> str:
    """Replace each backticked parameter in `text` by its option; leave other words as they are.

    `parameters` are those of a Typer command. ``name=True`` becomes ``--name``, ``name=None``
    becomes ``no --name``, and any other value stands after the option.
    """
    known = _spellings(parameters)

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        spelling = next((known[n] for n in (name, *ALIASES.get(name, ())) if n in known), None)
        if spelling is None:
            return found[0]
        if value is None or value == "True":
            return spelling.on
        if value == "False" and spelling.off:
            return spelling.off
        if value in {"None", "False"}:
            return f"no {spelling.on}"
        plain = value.strip("\"'")
        return f"{spelling.on} {plain}" if spelling.on.startswith("-") else plain

    return _QUOTED.sub(option, text)


def _spellings(parameters: Sequence[Any]) -> dict[str, _Spelling]:
    """Return how each parameter is written: as its long option, or as an argument's name."""
    found = {}
    for each in parameters:
        name = each.name.rstrip("_")
        on = max(each.opts, key=len)
        if not on.startswith("-"):
            on = (each.metavar or name.upper()).strip("[]")
        found[name] = _Spelling(on, max(each.secondary_opts, key=len, default=""))
    return found
