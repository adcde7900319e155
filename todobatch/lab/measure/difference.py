"""Estimate B's time ÷ A's from blocks of turns, and decide when to stop."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from todobatch.lab.stats import evidence
from todobatch.lab.stats.estimate import ratio_of
from todobatch.lab.store import machine
from todobatch.lab.store.schema import Cell, Estimate, Verdict
from todobatch.units import Ratio, Seconds

LEVEL = 0.05
"""The error rate of a verdict, however often the data are looked at."""


Clock: TypeAlias = Literal["cpu", "wall"]


@dataclass(frozen=True, slots=True)
class Block:
    """The measurements of one pair of processes."""

    log_ratio: float
    """log(A's time ÷ B's), the Hodges-Lehmann centre of the rounds; above 0, B is faster."""
    a_s: tuple[Seconds, ...]
    """A's turns, in the order in which they were run."""
    b_s: tuple[Seconds, ...]
    clock: Clock
    """What the turns are measured by: ``'cpu'`` if no turn waited, else ``'wall'``."""
    cpu: int | None
    """The CPU that both sides were kept on; None when they were free to move."""
    same_output: bool
    took_s: Seconds


@dataclass(frozen=True, slots=True)
class Difference:
    """The result of comparing B with A."""

    a: Cell
    b: Cell
    tasks: int
    """Tasks of one turn."""
    seed: int
    blocks: tuple[Block, ...]
    ratio: Estimate
    """B's time ÷ A's, with its 95 % interval."""
    verdict: Verdict
    """The verdict on B: ``'faster'``, ``'slower'``, ``'equivalent'`` or ``'inconclusive'``."""
    beyond_limit: bool | None
    """Whether B is slower by more than the limit; None when undecided or without a limit."""
    took_s: Seconds

    @property
    def same_output(self) -> bool:
        """Whether both sides gave the same output for the same tasks."""
        return all(block.same_output for block in self.blocks)

    def as_json(self) -> dict[str, Any]:
        """Return the document that `todobatch versus` prints as JSON; NaN becomes null."""
        fields = dataclasses.asdict(self)
        fields["ratio"] = {
            name: value if math.isfinite(value) else None for name, value in fields["ratio"].items()
        }
        for side in ("a", "b"):
            if "/" in (spec := fields[side]["interpreter"]):
                fields[side]["interpreter"] = machine.portable(Path(spec))
        return {**fields, "same_output": self.same_output}


def beyond(logs: Sequence[float], limit: Ratio) -> bool | None:
    """Return whether B is slower than A by more than `limit`; None while that is undecided.

    `logs` has log(A's time ÷ B's) of each block. The evidence is that of the verdicts, against the
    hypothesis that B is slower by exactly `limit`.
    """
    at = -math.log1p(limit)
    if len(logs) < 2 or evidence.p_value(logs, at) > LEVEL:
        return None
    return math.log(ratio_of(logs).estimate) < at


def decided(logs: Sequence[float], *, target: Ratio, limit: Ratio | None) -> bool:
    """Return whether enough blocks were measured.

    With a `limit`, `beyond` must be decided, and confirmed by further blocks. Without one, there
    must be a verdict, or the interval must be within ± `target`.
    """
    if limit is not None:
        return beyond(logs[: -evidence.CONFIRMING], limit) is not None
    return evidence.settled(logs, LEVEL, target) or evidence.precise(logs, target)
