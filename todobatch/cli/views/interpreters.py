"""Formats the interpreters of this machine as a table and as JSON."""

import json
from pathlib import Path

from todobatch.cli.views.tables import WHOLE, Table, wrapped
from todobatch.lab.interpreters import (
    DEFAULT_INTERPRETERS,
    Interpreter,
    Survey,
    differences,
    find_all,
)

HEADINGS = ("", "spec", "version", "build", "GIL", "optimised", "debug", "from", "path")
DROPPED = ("debug", "optimised", "GIL", "from", "build")
"""The columns that may be left out, the least important first."""


def as_json(found: Survey) -> str:
    """Return one JSON document."""
    document = {
        "interpreters": [
            {
                "spec": one.spec,
                "version": one.facts["version"],
                "free_threaded_build": one.facts["free_threaded_build"],
                "gil_enabled": one.facts["gil_enabled"],
                "optimized_build": one.facts["optimized_build"],
                "lto_build": one.facts["lto_build"],
                "debug_build": one.facts["debug_build"],
                "origin": one.origin,
                "path": str(one.executable),
            }
            for one in found.working
        ],
        "broken": [
            {"path": str(one.executable), "origin": one.origin, "reason": one.reason}
            for one in found.broken
        ],
        "missing": _missing(found),
    }
    return json.dumps(document, indent=2)


def lines(found: Survey, width: int = WHOLE) -> list[str]:
    """Return a table, the interpreters that do not work, and what the default pair lacks.

    No line has more than `width` columns.
    """
    page = ["", "* marks the one that todobatch uses for its spec."]
    if found.broken:
        page += ["", "These do not work:"]
        page += [f"  {home(one.executable)}: {one.reason}" for one in found.broken]
    return [*_table(found.working).lines(width), *wrapped([*page, *_pair(found)], width)]


def _table(working: list[Interpreter]) -> Table:
    table = Table(HEADINGS, left=len(HEADINGS), drop=DROPPED, long="path")
    seen = set[str]()
    for one in working:
        facts = one.facts
        table.add_row(
            "" if one.spec in seen else "*",
            one.spec,
            facts["version"],
            "free-threaded" if facts["free_threaded_build"] else "GIL",
            "on" if facts["gil_enabled"] else "off",
            {True: "PGO", False: "no"}[facts["optimized_build"]] + " + LTO" * facts["lto_build"],
            "yes" if facts["debug_build"] else "no",
            one.origin,
            home(one.executable),
        )
        seen.add(one.spec)
    return table


def _pair(found: Survey) -> list[str]:
    """Return what is missing of the pair that is measured by default, or how its builds differ."""
    missing = _missing(found)
    if missing:
        get = f"  todobatch interpreters install {' '.join(missing)}"
        return ["", f"Measured by default, but missing: {', '.join(missing)}", get]
    apart = differences(*find_all(DEFAULT_INTERPRETERS))
    if not apart:
        return []
    return [
        "",
        "The two that are measured by default differ in more than the GIL:",
        *(f"  {one}" for one in apart),
    ]


def _missing(found: Survey) -> list[str]:
    here = {one.spec for one in found.working}
    return [spec for spec in DEFAULT_INTERPRETERS if spec not in here]


def home(path: Path) -> str:
    """Return the path, with ~ for the home folder."""
    return f"~/{path.relative_to(Path.home())}" if path.is_relative_to(Path.home()) else str(path)
