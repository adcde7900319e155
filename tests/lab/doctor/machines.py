"""Made-up machines with known troubles, for tests of the doctor."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tests.tools import made_up
from todobatch.lab.doctor import checks
from todobatch.lab.doctor.checks import Finding
from todobatch.lab.doctor.system import Facts, Snapshot
from todobatch.lab.interpreters import Interpreter
from todobatch.runtime import RuntimeFacts


def python(spec: str, **changes: Any) -> Interpreter:
    facts = {**made_up.FACTS, "optimized_build": True, "lto_build": True, **changes}
    return Interpreter(spec, Path(f"python{spec}"), cast(RuntimeFacts, facts), "cache")


START = Snapshot(
    at=100.0,
    load=0.05,
    pressure=0.0,
    ticks=1_000,
    stolen=10,
    throttled=0,
    swapped=7,
    overheated=0,
)
QUIET = Facts(
    before=START,
    after=replace(START, at=110.0, ticks=5_000),
    cpus=8,
    cpus_available=8,
    virtualised=None,
    governors=("performance",),
    turbo=False,
    quota=math.inf,
    swap_used=0,
    hottest_c=45.0,
    on_battery=False,
    interpreters=(python("3.14"), python("3.14t")),
)
MUTE = Snapshot(0.0, None, None, None, None, None, None, None)
SILENT = Facts(
    before=MUTE,
    after=MUTE,
    cpus=None,
    cpus_available=8,
    virtualised=None,
    governors=None,
    turbo=None,
    quota=None,
    swap_used=None,
    hottest_c=None,
    on_battery=None,
    interpreters=(python("3.14"), python("3.14t")),
)


def after(**changes: Any) -> Facts:
    return replace(QUIET, after=replace(QUIET.after, **changes))


def before(**changes: Any) -> Facts:
    return replace(QUIET, before=replace(QUIET.before, **changes))


def found(facts: Facts, name: str) -> Finding:
    (one,) = [each for each in checks.examine(facts) if each.name == name]
    return one
