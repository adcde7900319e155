"""The verdict of `todobatch versus` as text."""

import math
import statistics

from todobatch.lab.measure.versus import Outcome
from todobatch.units import show_seconds

VERDICTS = {
    "faster": "B is faster",
    "slower": "B is slower",
    "equivalent": "A and B are indistinguishable, within 2 %",
    "cannot tell": "Inconclusive; a larger --budget may decide it",
}


def lines(outcome: Outcome) -> list[str]:
    """The verdict, what was compared, and how."""
    verdict = VERDICTS[outcome.verdict]
    if outcome.beyond_limit is not None:
        verdict += f"; it is {'' if outcome.beyond_limit else 'not '}beyond the limit"
    blocks = len(outcome.blocks)
    turns = sum(len(block.a_s) for block in outcome.blocks)
    turn_s = statistics.median(turn for block in outcome.blocks for turn in block.a_s)
    found = [
        f"{verdict}. Time of B ÷ A: {_ratio(outcome)} (95 %)",
        f"A  {outcome.a.key}",
        f"B  {outcome.b.key}",
        (
            f"Measured in {show_seconds(outcome.took_s)}: {blocks} "
            f"{'block' if blocks == 1 else 'blocks'} of two fresh processes, {turns} turns of each "
            f"side, {show_seconds(turn_s)} and {outcome.tasks} tasks a turn; seed {outcome.seed}"
        ),
    ]
    if not outcome.same_output:
        found.append("Warning: their outputs differ, so they do not do the same work.")
    return found


def progress(outcome: Outcome) -> str:
    """How far it is."""
    return f"block {len(outcome.blocks)}, time of B ÷ A: {_ratio(outcome)}"


def _ratio(outcome: Outcome) -> str:
    low, high = (
        "?" if math.isnan(bound) else f"{bound:.3f}"
        for bound in (outcome.ratio.low, outcome.ratio.high)
    )
    return f"{outcome.ratio.estimate:.3f}× [{low}, {high}]"
