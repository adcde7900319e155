"""The order of samples, and the loop that measures them.

Each block has every cell once, in a random order of its own that the seed fixes. So no approach
always runs when the machine is in the same state (randomised complete blocks: Fisher, "The Design
of Experiments", 1935). Cells of one workload stay together: they are compared with each other, and
the machine drifts less between neighbours.

With a target, only undecided cells are measured from the second block on. These are the cells that
may be the fastest of their workload (`verdict.undecided`), and the sequential cells for their
speed-ups. The verdicts stay valid under such stopping: `todobatch.lab.stats.evidence`.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from todobatch.lab.measure import control
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.plan.cells import SEQUENTIAL
from todobatch.lab.stats.verdict import undecided
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Plan, Sample
from todobatch.lab.store.writer import RunWriter
from todobatch.units import Seconds, show_seconds

ATTEMPTS = 3
"""A void sample is measured again, up to this many times in all."""
OVERTIME = 1.1
"""A block is ended early when the run has lasted this many times its budget."""


@dataclass(frozen=True, slots=True)
class Upcoming:
    """The sample that is measured next, and the progress of the run."""

    slot: Slot
    blocks: int
    """The most blocks that the run may have."""
    cells: int
    """The number of samples in this block."""
    index: int
    """The number of the sample within the block, from 0."""
    left_s: Seconds
    """The time that is left at most; NaN before the first sample."""


def order(plan: Plan, block: int) -> list[Cell]:
    """Return the cells of a block in its random order; the same for the same plan and seed."""
    draw = random.Random(f"{plan.seed}/{block}")
    workloads = list(dict.fromkeys(cell.workload for cell in plan.cells))
    draw.shuffle(workloads)
    ordered = []
    for workload in workloads:
        cells = [cell for cell in plan.cells if cell.workload == workload]
        draw.shuffle(cells)
        ordered += cells
    return ordered


def wanted(run: Run, block: int) -> set[Cell]:
    """Return the cells to measure in a block, given the samples of the blocks before it."""
    plan = run.meta.plan
    before = replace(run, samples=[each for each in run.samples if each.block < block])
    if not plan.target or not before.samples:
        return set(plan.cells)
    cells: set[Cell] = set()
    for workload in dict.fromkeys(cell.workload for cell in plan.cells):
        open_cells = undecided(before, workload, plan.target)
        cells.update(open_cells)
        cells.update(Cell(workload, each.interpreter, SEQUENTIAL, 1) for each in open_cells)
    return cells & set(plan.cells)


def missing(plan: Plan, samples: Sequence[Sample], block: int) -> list[Slot]:
    """Return the slots of a block that have no valid sample yet and attempts left.

    A cell whose attempts in one block were all void is given up: later blocks leave it out.
    """
    attempts = Counter((sample.block, sample.cell) for sample in samples)
    valid = {(sample.block, sample.cell) for sample in samples if sample.void is None}
    given_up = {
        (at, cell)
        for (at, cell), count in attempts.items()
        if count >= ATTEMPTS and (at, cell) not in valid
    }
    return [
        Slot(block, position, cell)
        for position, cell in enumerate(order(plan, block))
        if (block, cell) not in valid
        and not any(cell == other and at <= block for at, other in given_up)
    ]


def given_up(plan: Plan, samples: Sequence[Sample]) -> list[Cell]:
    """Return the cells that are no longer measured, because all attempts in a block were void."""
    left = {slot.cell for slot in missing(plan, samples, plan.blocks)}
    return [cell for cell in plan.cells if cell not in left]


def least_block_s(plan: Plan) -> Seconds:
    """Return the least time of a block: the sum of sequential time ÷ workers over all cells."""
    sequential = {shape.workload: shape.calibrated_s for shape in plan.shapes}
    return sum(sequential[cell.workload] / cell.workers for cell in plan.cells)


def beyond_budget(budget_s: Seconds, spent_s: Seconds, block_s: Seconds) -> str:
    """Return the warning that not even one block fits into the budget."""
    return (
        f"the budget of {show_seconds(budget_s)} is too short: {show_seconds(spent_s)} are spent, "
        f"and a block takes at least {show_seconds(block_s)}; one block is measured anyway"
    )


def run(
    writer: RunWriter,
    sampler: Sampler,
    on_upcoming: Callable[[Upcoming], None],
    *,
    spent_s: Seconds = 0.0,
) -> Iterator[Sample]:
    """Measure what the plan lacks; each sample is on disk before it is yielded.

    The run ends when the target is reached, or when another block would not fit into the budget.
    The first block is always measured. `spent_s` and the samples of earlier sessions count towards
    the budget. Raises StoreError. Ctrl-C ends the sample being measured, and nothing of it is kept.
    """
    plan = writer.meta.plan
    shapes = {shape.workload: shape for shape in plan.shapes}
    clock = _Clock(plan, writer.samples, spent_s)
    for block in range(plan.blocks):
        cells = wanted(writer.run(), block)
        if not cells:
            return
        slots = [slot for slot in missing(plan, writer.samples, block) if slot.cell in cells]
        if not slots:
            continue
        if block and not clock.fits(slots):
            return
        writer.append_control(control.measure(block, "start"))
        for index, slot in enumerate(slots):
            if block and clock.overdrawn():
                return
            attempts = sum(s.block == block and s.cell == slot.cell for s in writer.samples)
            for _ in range(attempts, ATTEMPTS):
                left = clock.left(slots, index, plan.blocks - block - 1)
                on_upcoming(Upcoming(slot, plan.blocks, len(slots), index, left))
                number = len(writer.samples)
                sample = sampler.take(slot, shapes[slot.cell.workload], number=number)
                writer.append(sample)
                clock.add(sample)
                yield sample
                if sample.void is None:
                    break
        writer.append_control(control.measure(block, "end"))


class _Clock:
    """Estimates the remaining time from the time spent and the mean time of each cell."""

    def __init__(self, plan: Plan, samples: Sequence[Sample], spent_s: Seconds) -> None:
        self._plan = plan
        self._spent_before = spent_s + sum(sample.process_s for sample in samples)
        self._begun = time.monotonic()
        self._took: dict[Cell, list[Seconds]] = {}
        for sample in samples:
            self.add(sample)

    def add(self, sample: Sample) -> None:
        """Record the time of a sample for its cell."""
        self._took.setdefault(sample.cell, []).append(sample.process_s)

    def fits(self, slots: Sequence[Slot]) -> bool:
        """Return whether these slots are expected to fit into the rest of the budget."""
        if not self._plan.budget_s or not self._took:
            return True
        return self._spent() + self._expected(slots) <= self._plan.budget_s

    def overdrawn(self) -> bool:
        """Return whether more than `OVERTIME` × the budget is spent."""
        return bool(self._plan.budget_s) and self._spent() > OVERTIME * self._plan.budget_s

    def left(self, slots: Sequence[Slot], index: int, blocks_after: int) -> Seconds:
        """Return an upper estimate of the time from slot `index` to the end; NaN without a sample.

        With a target there may be fewer blocks, and fewer cells in them.
        """
        if not self._took:
            return float("nan")
        rest = self._expected(slots[index:]) + blocks_after * self._expected(slots)
        if self._plan.budget_s:
            rest = min(rest, max(0.0, self._plan.budget_s - self._spent()))
        return rest

    def _spent(self) -> Seconds:
        return self._spent_before + time.monotonic() - self._begun

    def _expected(self, slots: Sequence[Slot]) -> Seconds:
        means = {cell: sum(took) / len(took) for cell, took in self._took.items()}
        typical = sum(means.values()) / len(means)
        return sum(means.get(slot.cell, typical) for slot in slots)
