"""The whole of `todobatch doctor`: look, measure, and say it to people and programs."""

import datetime as dt
import json
import random
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from todobatch.errors import InterpreterMissingError, TodobatchError
from todobatch.lab.doctor import checks as doctor
from todobatch.lab.doctor import noise, together
from todobatch.lab.doctor.checks import UNTOLD, Finding
from todobatch.lab.doctor.noise import Noise, Pair
from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, Interpreter, find, find_all
from todobatch.lab.measure.sample import Sampler
from todobatch.lab.store import machine
from todobatch.units import Seconds, show_seconds

IDLE_WINDOW_S: Seconds = 0.5
"""Counters are watched for so long where nothing is measured meanwhile."""
SAMPLE_TIMEOUT_S: Seconds = 60.0
LABEL = 9  # columns of 'warning' and what sets it off

Tell: TypeAlias = Callable[[str, str], None]
"""Called with what is being done, and how far it is."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, as far as it got."""

    machine: dict[str, Any]
    findings: tuple[Finding, ...]
    noise: Noise | None
    interrupted: bool = False

    @property
    def has_warning(self) -> bool:
        """Whether `--strict` should refuse this machine."""
        return any(each.severity == "warning" for each in self.findings)

    def as_json(self) -> str:
        """One document: ``machine``, ``findings``, ``noise`` (null without an A/A run)."""
        document = {
            "machine": self.machine,
            "findings": doctor.stored(self.findings),
            "noise": None if self.noise is None else self.noise.as_json(),
            "interrupted": self.interrupted,
        }
        return json.dumps(document, indent=1, allow_nan=False)


def diagnose(tell: Tell, *, seconds: Seconds, measure: bool) -> Diagnosis:
    """Look at the machine, and measure it unless told not to; `seconds` are the A/A run's.

    Ctrl-C ends the measuring: what there is by then is the answer.
    """
    before = doctor.snapshot()  # now: what load there is is that of others
    described = machine.describe()
    tell("looking at machine and interpreters", "")
    interpreters, missing = _defaults()
    measured: list[Finding] = []
    pairs: list[Pair] = []
    interrupted = False
    try:
        if measure:
            tell("measuring how many CPUs two busy threads get, about 5 s", "")
            free = [each.executable for each in interpreters if not each.facts["gil_enabled"]]
            used = together.measure(free[0] if free else None)
            measured.append(together.judge(used, described["cpus_available"]))
            measured += _take_pairs(pairs, interpreters, seconds, tell)
        else:
            time.sleep(IDLE_WINDOW_S)
    except KeyboardInterrupt:
        interrupted = True
    found = noise.summarise(pairs, interpreters[0].spec) if interpreters else None
    if found is not None:
        measured.append(noise.judge(found))
    facts = doctor.gather(before, described, interpreters, missing)
    findings = (*doctor.examine(facts), *measured)
    return Diagnosis(described, findings, found, interrupted)


def _take_pairs(
    pairs: list[Pair], interpreters: Sequence[Interpreter], seconds: Seconds, tell: Tell
) -> Iterator[Finding]:
    """Fill `pairs`, which the caller keeps when Ctrl-C ends this; a finding says why not."""
    if not interpreters:
        why = "not taken: no default interpreter is here"
        get = f"todobatch interpreters install {DEFAULT_INTERPRETERS[0]}"
        yield Finding(noise.NAME, "note", why, "How noisy this machine is stays unknown.", get)
        return
    one = interpreters[0]
    what = f"A/A run: the same thing twice on {one.spec}, {seconds:g} s"
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    sampler = Sampler(
        {one.spec: one}, {"kind": "generator", "seed": 0}, today, timeout_s=SAMPLE_TIMEOUT_S
    )
    begun = time.monotonic()
    tell(what, "")
    try:
        for pair in noise.pairs(sampler, one.spec, seconds, random.Random()):
            pairs.append(pair)
            tell(what, f"{len(pairs)} pairs, {time.monotonic() - begun:.0f} s")
    except TodobatchError as error:
        yield Finding(
            noise.NAME,
            "warning",
            machine.without_folders(f"it broke off: {error.cause}"),
            "Samples do not come out as they should: bench would call them void.",
            error.remedy,
        )
    finally:
        sampler.close()


def _defaults() -> tuple[list[Interpreter], list[str]]:
    """The pair that is measured by default, alike where possible, and what is missing of it."""
    try:
        return find_all(DEFAULT_INTERPRETERS), []
    except InterpreterMissingError:
        pass
    here, missing = [], []
    for spec in DEFAULT_INTERPRETERS:
        try:
            here.append(find(spec))
        except InterpreterMissingError:
            missing.append(spec)
    return here, missing


# For people ---------------------------------------------------------------------------------------


def page(diagnosis: Diagnosis, width: int) -> list[str]:
    """What people read, wrapped; what matters most comes first."""
    about = diagnosis.machine
    heading = (
        f"{doctor.show_cpus(about['cpus_available'])}, {about['cpu_model']}; "
        f"{about['os']}, {about['kernel']}"
    )
    lines = [*textwrap.wrap(heading, width), ""]
    told = [each for each in diagnosis.findings if each.seen != UNTOLD]
    for severity in ("warning", "note", "ok"):
        for each in told:
            if each.severity == severity:
                lines += _entry(each, width)
    untold = [each.name for each in diagnosis.findings if each.seen == UNTOLD]
    if untold:
        lines += _block("untold", f"{', '.join(untold)}: {UNTOLD}", width)
    if diagnosis.noise is not None:
        lines += ["", *_noise(diagnosis.noise, width)]
    if diagnosis.interrupted:
        lines += ["", "Interrupted: what would have been measured after that is not in this."]
    return lines


def _entry(finding: Finding, width: int) -> list[str]:
    lines = _block(finding.severity, f"{finding.name}: {finding.seen}", width)
    if finding.effect:
        lines += _block("", finding.effect, width)
    if finding.remedy:
        lines += _block("", f"-> {finding.remedy}", width)
    return lines


def _block(label: str, text: str, width: int) -> list[str]:
    indent = " " * LABEL
    # A command is copied: it is not cut at its hyphens.
    return textwrap.wrap(
        text,
        width,
        initial_indent=label.ljust(LABEL),
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _noise(found: Noise, width: int) -> list[str]:
    head = (
        f"Noise: {found.pairs} pairs of the same sample ({found.workload}, sequential on "
        f"{found.interpreter}, {show_seconds(found.sample_s)} each) differ by "
        f"{_percent(found.spread)} (standard deviation, 95 % interval {_percent(found.spread_low)} "
        f"to {_percent(found.spread_high)}; {_percent(found.robust_spread)} without outliers)."
    )
    table = [("sampling for", "pairs", "smallest difference found 4 times out of 5")]
    table += [
        (
            _duration(each.seconds),
            str(each.pairs),
            "none: no two pairs fit in" if each.effect is None else _percent(each.effect),
        )
        for each in found.detectable
    ]
    caveat = (
        f"For one comparison of two neighbours, {show_seconds(found.pair_s)} a pair. In a run of "
        "many cells a pair lies further apart, and takes longer: this is the best case."
    )
    return [
        *textwrap.wrap(head, width),
        "",
        *(f"  {what:12}  {pairs:>6}  {effect}" for what, pairs, effect in table),
        "",
        *textwrap.wrap(caveat, width),
    ]


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %"


def _duration(seconds: Seconds) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
