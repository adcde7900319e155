"""Prove that a file is a usable interpreter, by running it.

A name on PATH proves nothing: a shim can exist and not run, and ``python3.14`` can be any build.
"""

import json
from pathlib import Path
from typing import NamedTuple

from todobatch import runtime
from todobatch.lab.interpreters.commands import run_bounded
from todobatch.runtime import RuntimeFacts
from todobatch.units import Seconds

PROOF_TIMEOUT_S: Seconds = 20.0
"""A candidate that does not answer within this time is killed."""

NEEDED_MODULES = ("zlib", "_ctypes", "_hashlib", "_interpreters", "_sqlite3", "_ssl")
"""Modules that an installed interpreter must have. A build without headers lacks some of them."""

_VERSION_CHECK = "sys.version_info < (3, 11)"
# This loads runtime.py by its path, so todobatch need not be installed there.
_PROOF = f"""
import json, sys
if {_VERSION_CHECK}:
    print(json.dumps({{"too_old": "%d.%d.%d" % sys.version_info[:3]}}))
    sys.exit()
import importlib.util, runpy
facts = runpy.run_path(sys.argv[1])["facts"]()
missing = [name for name in sys.argv[2:] if importlib.util.find_spec(name) is None]
print(json.dumps({{"facts": facts, "prefix": sys.prefix, "missing": missing}}))
"""


class Proof(NamedTuple):
    """What an interpreter reported about itself when it was run."""

    facts: RuntimeFacts
    prefix: str
    missing: tuple[str, ...]
    """The `NEEDED_MODULES` that the interpreter lacks."""


class NotAnInterpreterError(Exception):
    """A candidate is not a usable interpreter; the message says why."""


def prove(executable: Path, *, timeout_s: Seconds = PROOF_TIMEOUT_S) -> Proof:
    """Run an interpreter and return what it reports about itself.

    Raises NotAnInterpreterError when it does not run, is not CPython, is too old, or does not
    answer within `timeout_s`.
    """
    command = [str(executable), "-I", "-c", _PROOF, runtime.__file__, *NEEDED_MODULES]
    status, out, err = run_bounded(command, timeout_s)
    if _VERSION_CHECK in err:  # a program that prints its arguments, as `ls` does
        raise NotAnInterpreterError("it is not a Python interpreter")
    if status != 0:
        raise NotAnInterpreterError(f"it does not run: {_one_line(err) or f'exit code {status}'}")
    try:
        answer = json.loads(out)
    except ValueError:
        raise NotAnInterpreterError(f"it is not Python: it printed {_one_line(out)!r}") from None
    if "too_old" in answer:
        raise NotAnInterpreterError(f"it is Python {answer['too_old']}; todobatch needs 3.11")
    if answer["facts"]["implementation"] != "cpython":
        raise NotAnInterpreterError(f"it is {answer['facts']['implementation']}, not CPython")
    return Proof(answer["facts"], answer["prefix"], tuple(answer["missing"]))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:119]}…"
