"""Formats the findings of `todobatch doctor` as text, most serious first."""

import textwrap

from todobatch.cli.views.tables import Table
from todobatch.lab.doctor.checks import UNKNOWN, Finding
from todobatch.lab.doctor.diagnosis import Diagnosis
from todobatch.lab.doctor.noise import Noise
from todobatch.units import Seconds, show_count, show_seconds

LABEL_WIDTH = 9
"""Columns of the longest label, 'warning', with the gap after it."""


def as_lines(diagnosis: Diagnosis, width: int) -> list[str]:
    """Return a diagnosis as lines of at most `width` columns."""
    about = diagnosis.machine
    heading = (
        f"{show_count(about['cpus_available'], 'CPU')}, {about['cpu_model']}; "
        f"{about['os']}, {about['kernel']}"
    )
    lines = [*textwrap.wrap(heading, width), ""]
    known = [each for each in diagnosis.findings if each.seen != UNKNOWN]
    for severity in ("warning", "note", "ok"):
        for each in known:
            if each.severity == severity:
                lines += _finding(each, width)
    unknown = [each.name for each in diagnosis.findings if each.seen == UNKNOWN]
    if unknown:
        lines += _labelled("unknown", f"{', '.join(unknown)}: {UNKNOWN}", width)
    if diagnosis.noise is not None:
        lines += ["", *_noise(diagnosis.noise, width)]
    if diagnosis.interrupted:
        lines += ["", "Interrupted: some measurements are missing."]
    return lines


def _finding(finding: Finding, width: int) -> list[str]:
    lines = _labelled(finding.severity, f"{finding.name}: {finding.seen}", width)
    if finding.effect:
        lines += _labelled("", finding.effect, width)
    if finding.remedy:
        lines += _labelled("", f"-> {finding.remedy}", width)
    return lines


def _labelled(label: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=label.ljust(LABEL_WIDTH),
        subsequent_indent=" " * LABEL_WIDTH,
        break_on_hyphens=False,  # people copy commands
    )


def _noise(noise: Noise, width: int) -> list[str]:
    head = (
        f"Noise: {noise.pairs} pairs of the same sample ({noise.workload}, sequential on "
        f"{noise.interpreter}, {show_seconds(noise.sample_s)} each) differ by "
        f"{_percent(noise.spread)} (standard deviation, 95 % interval {_percent(noise.spread_low)} "
        f"to {_percent(noise.spread_high)}; {_percent(noise.robust_spread)} without outliers)."
    )
    table = Table(("measured for", "pairs", "smallest difference"), drop=("pairs",))
    for each in noise.detectable:
        effect = "none" if each.effect is None else _percent(each.effect)
        table.add_row(_duration(each.seconds), each.pairs, effect)
    caveat = (
        'A difference of this size is found 4 times out of 5; "none" is no time for two pairs. '
        f"This is the best case: one comparison of two cells, {show_seconds(noise.pair_s)} a pair. "
        "In a run of many cells, the two samples of a pair are further apart in time."
    )
    return [
        *textwrap.wrap(head, width),
        "",
        *(f"  {line}" for line in table.lines(width - 2)),
        "",
        *textwrap.wrap(caveat, width),
    ]


def _percent(fraction: float) -> str:
    percent = 100 * fraction
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %"


def _duration(seconds: Seconds) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"
