"""Examine the machine for `todobatch doctor`: read settings, measure, and collect the findings."""

import datetime as dt
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from todobatch.errors import InterpreterMissingError, TodobatchError
from todobatch.lab.doctor import checks, noise, parallelism, system
from todobatch.lab.doctor.checks import Finding
from todobatch.lab.doctor.noise import Noise, Pair
from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, Interpreter, find, find_all
from todobatch.lab.measure.sample import Sampler
from todobatch.lab.progress import Progress
from todobatch.lab.store import machine
from todobatch.units import Seconds

IDLE_WINDOW_S: Seconds = 0.5
"""Time for which counters are watched when nothing is measured."""
SAMPLE_TIMEOUT_S: Seconds = 60.0
"""A sample of the A/A run that takes longer is void."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings of the doctor, or those until it was interrupted."""

    machine: dict[str, Any]
    findings: tuple[Finding, ...]
    noise: Noise | None
    """The noise, or None without an A/A run."""
    interrupted: bool = False

    @property
    def has_warning(self) -> bool:
        """Whether any finding is a warning."""
        return any(each.severity == "warning" for each in self.findings)

    def as_json(self) -> str:
        """Return one JSON document: ``machine``, ``findings``, ``noise`` and ``interrupted``."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)


def diagnose(progress: Progress, *, seconds: Seconds, measure: bool) -> Diagnosis:
    """Read the machine's settings and, with `measure`, measure it.

    `seconds` is the length of the A/A run. Ctrl-C ends the measuring; what was found until then is
    returned.
    """
    # The snapshot comes first, so that it does not contain the load of todobatch.
    before = system.take_snapshot()
    described = machine.describe()
    progress.step("reading the settings of machine and interpreters")
    interpreters, missing = _default_interpreters()
    measured: list[Finding] = []
    pairs: list[Pair] = []
    interrupted = False
    try:
        if measure:
            progress.step("measuring how many CPUs two busy threads get, about 5 s")
            free = [each.executable for each in interpreters if not each.facts["gil_enabled"]]
            found = parallelism.measure(free[0] if free else None)
            measured.append(parallelism.check(found, described["cpus_available"]))
            measured += _measure_pairs(pairs, interpreters, seconds, progress)
        else:
            time.sleep(IDLE_WINDOW_S)
    except KeyboardInterrupt:
        interrupted = True
    summary = noise.summarise(pairs, interpreters[0].spec) if interpreters else None
    if summary is not None:
        measured.append(noise.check(summary))
    facts = system.gather(before, described, interpreters, missing)
    return Diagnosis(described, (*checks.examine(facts), *measured), summary, interrupted)


def _measure_pairs(
    pairs: list[Pair], interpreters: Sequence[Interpreter], seconds: Seconds, progress: Progress
) -> Iterator[Finding]:
    """Append each pair to `pairs` at once, so Ctrl-C loses none; yield a finding on failure."""
    if not interpreters:
        yield Finding(
            noise.NAME,
            "note",
            "not run: no default interpreter was found",
            "The noise of this machine is unknown.",
            f"todobatch interpreters install {DEFAULT_INTERPRETERS[0]}",
        )
        return
    first = interpreters[0]
    text = f"A/A run: measuring one cell twice on {first.spec}, {seconds:g} s"
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    sampler = Sampler(
        {first.spec: first}, {"kind": "generator", "seed": 0}, today, timeout_s=SAMPLE_TIMEOUT_S
    )
    begun = time.monotonic()
    progress.step(text)
    try:
        for pair in noise.measure_pairs(sampler, first.spec, seconds, random.Random()):
            pairs.append(pair)
            progress.step(text, detail=f"{len(pairs)} pairs, {time.monotonic() - begun:.0f} s")
    except TodobatchError as error:
        yield Finding(
            noise.NAME,
            "warning",
            machine.without_folders(f"it failed: {error.cause}"),
            "Samples do not work as they should. A benchmark would mark them void.",
            error.remedy,
        )
    finally:
        sampler.close()


def _default_interpreters() -> tuple[list[Interpreter], list[str]]:
    """Return the default interpreters that were found, and the names of the others."""
    try:
        return find_all(DEFAULT_INTERPRETERS), []
    except InterpreterMissingError:
        pass
    found, missing = [], []
    for spec in DEFAULT_INTERPRETERS:
        try:
            found.append(find(spec))
        except InterpreterMissingError:
            missing.append(spec)
    return found, missing
