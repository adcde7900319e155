"""The names of interpreters (a spec such as '3.14t', or a path), and the pinned versions.

To pin another version, add a line to `PINS` with the sha256 of ``Python-VERSION.tar.xz``.
"""

import os
import re
from dataclasses import dataclass

from todobatch.errors import UsageError, did_you_mean
from todobatch.runtime import RuntimeFacts

DEFAULT_INTERPRETERS = ("3.14", "3.14t")
"""The interpreters that are measured unless others are chosen."""
OLDEST_PYTHON = (3, 11)
"""The oldest Python that runs todobatch."""
OLDEST_FREE_THREADED = (3, 13)


@dataclass(frozen=True, slots=True)
class Pin:
    """One source archive, pinned by version and content."""

    version: str
    """The version as Python writes it: ``'3.15.0rc2'``."""
    sha256: str

    @property
    def archive(self) -> str:
        """The archive's file name at python.org."""
        return f"Python-{self.version}.tar.xz"


PINS = {
    "3.13": Pin("3.13.15", "1e66a7945a48390ee4c2a4268a0e4185884059a13c4aab6d148aa208deea4a76"),
    "3.14": Pin("3.14.7", "3b48dac8fb59f62eaa67ac83c1eb12bda1b7a08406dd286e252c11a66be27f81"),
    "3.15": Pin("3.15.0rc2", "8d93af5eaaaea5adfd41bd786a7ba3f03f2ad1ab57c6a65e0b963deab91d5ad7"),
}

SPECS = tuple(f"{minor}{t}" for minor in PINS for t in ("", "t"))
"""The specs that can be installed: ``'3.13'``, ``'3.13t'``, ``'3.14'``, …"""

_SPEC = re.compile(r"3\.([0-9]{1,3})(t?)")


def is_path(spec: str) -> bool:
    """Return whether a spec names a file rather than a version."""
    return os.sep in spec or spec.startswith("~")


def check_spec(spec: str) -> None:
    """Raise UsageError for a spec that is not a version which todobatch supports."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(
            f"{spec!r} is neither a version such as 3.14 or 3.14t nor a path with a '{os.sep}'"
            + did_you_mean(spec, SPECS),
            place="interpreter",
            remedy="choose one that `todobatch interpreters` lists",
        )
    version = (3, int(match[1]))
    if version < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise UsageError(
            f"todobatch needs Python {oldest} or newer",
            place=f"interpreter {spec}",
            remedy="choose one that `todobatch interpreters` lists",
        )
    if match[2] and version < OLDEST_FREE_THREADED:
        raise UsageError(
            "Python has free-threaded builds since 3.13",
            place=f"interpreter {spec}",
            remedy="choose 3.14t",
        )


def spec_of(facts: RuntimeFacts) -> str:
    """Return the spec of an interpreter: ``'3.14t'`` for a free-threaded 3.14.7."""
    major, minor = facts["version"].split(".")[:2]
    return f"{major}.{minor}{'t' if facts['free_threaded_build'] else ''}"


def is_named_for(name: str, spec: str) -> bool:
    """Return whether a file's name fits a spec; a name without a version fits every spec."""
    return _SPEC.fullmatch(name.removeprefix("python")) is None or name == f"python{spec}"


def version_numbers(version: str) -> tuple[int, ...]:
    """Return numbers that sort as versions do: '3.15.0rc2' -> (3, 15, 0, 2, 2)."""
    match = re.match(r"(\d+)\.(\d+)\.(\d+)(?:(a|b|rc)(\d+))?", version)
    if match is None:
        return (0,)
    stage = {"a": 0, "b": 1, "rc": 2, None: 3}[match[4]]
    return (*map(int, match.group(1, 2, 3)), stage, int(match[5] or 0))
