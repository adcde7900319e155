"""Translates errors for the command line: options take the place of Python's parameters.

The library speaks of parameters in backticks: `` `workers` ``, `` `placement="none"` ``. A user of
the command line knows options: ``--workers``, ``--placement none``. The options are those of the
command that was invoked.
"""

import re
from collections.abc import Sequence
from shlex import quote
from typing import Any

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


def in_options(text: str, parameters: Sequence[Any]) -> str:
    """Replace each backticked parameter in `text` by its option; leave other words as they are.

    `parameters` are those of a Typer command. ``name=True`` becomes ``--name``, ``name=None``
    becomes ``no --name``. Any other value stands after the option, quoted for a shell.
    """
    known = _spellings(parameters)

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        on, off = next((known[n] for n in (name, *ALIASES.get(name, ())) if n in known), ("", ""))
        if not on:
            return found[0]
        if value is None or value == "True":
            return on
        if value == "False" and off:
            return off
        if value in {"None", "False"}:
            return f"no {on}"
        plain = value.strip("\"'")
        return f"{on} {quote(plain)}" if on.startswith("-") else plain

    return _QUOTED.sub(option, text)


def _spellings(parameters: Sequence[Any]) -> dict[str, tuple[str, str]]:
    """Return how each parameter is written, as long option or argument, and what turns it off."""
    found = {}
    for each in parameters:
        name = each.name.rstrip("_")
        on = max(each.opts, key=len)
        if not on.startswith("-"):
            on = (each.metavar or name.upper()).strip("[]")
        found[name] = on, max(each.secondary_opts, key=len, default="")
    return found
