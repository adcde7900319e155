"""Formats the verdict of `todobatch versus` as text."""

import math
import statistics

from todobatch.lab.measure.difference import Difference
from todobatch.units import show_seconds

VERDICTS = {
    "faster": "B is faster",
    "slower": "B is slower",
    "equivalent": "A and B are indistinguishable, within 2 %",
    "inconclusive": "Inconclusive; a larger --budget may decide it",
}


def lines(found: Difference) -> list[str]:
    """Return the verdict, what was compared, and how."""
    verdict = VERDICTS[found.verdict]
    if found.beyond_limit is not None:
        verdict += f"; it is {'' if found.beyond_limit else 'not '}beyond the limit"
    blocks = len(found.blocks)
    turns = sum(len(block.a_s) for block in found.blocks)
    turn_s = statistics.median(turn for block in found.blocks for turn in block.a_s)
    shown = [
        f"{verdict}. Time of B ÷ A: {_ratio(found)} (95 %)",
        f"A  {found.a.key}",
        f"B  {found.b.key}",
        (
            f"Measured in {show_seconds(found.took_s)}: {blocks} "
            f"{'block' if blocks == 1 else 'blocks'} of two fresh processes, {turns} turns of each "
            f"side, {show_seconds(turn_s)} and {found.tasks} tasks a turn; seed {found.seed}"
        ),
    ]
    if not found.same_output:
        shown.append("Warning: their outputs differ, so they do not do the same work.")
    return shown


def progress(found: Difference) -> str:
    """Return the ratio so far, for a line of progress."""
    return f"block {len(found.blocks)}, time of B ÷ A: {_ratio(found)}"


def _ratio(found: Difference) -> str:
    low, high = (
        "?" if math.isnan(bound) else f"{bound:.3f}"
        for bound in (found.ratio.low, found.ratio.high)
    )
    return f"{found.ratio.estimate:.3f}× [{low}, {high}]"
