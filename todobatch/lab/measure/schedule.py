"""The order of samples, and the loop that takes them.

Every cell once is a block; each block has its own random order, fixed by the seed, so that no
approach always runs when the machine is in the same mood (randomised complete blocks: Fisher,
"The Design of Experiments", 1935). Cells of one workload stand together in it: they are compared
with each other, and the machine drifts the less between them.

With a target, samples go where the doubt is: from the second block on only to cells that may still
be the fastest of their workload (`verdict.undecided`) and to the sequential runs that these are
compared with. The verdicts hold under such looking and stopping: `todobatch.lab.stats.evidence`.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from todobatch.lab.measure import control
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.stats.verdict import SEQUENTIAL, undecided
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Plan, Sample, WorkloadShape
from todobatch.lab.store.writer import RunWriter
from todobatch.units import Seconds

ATTEMPTS = 3
"""A sample that turns out void is taken again until so many were taken."""
OVERTIME = 1.1
"""A block that was expected to fit is broken off when the budget is overdrawn by this factor."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, before each sample."""

    slot: Slot
    blocks: int
    cells: int
    """In this block."""
    index: int
    """Of the sample among these, from 0."""
    taken: int
    """Samples so far in this session."""
    left_s: Seconds
    """Expected until the end; NaN while nothing is known yet."""
    attempt: int = 1


def order(plan: Plan, block: int) -> list[Cell]:
    """The cells of a block in its random order; the same for the same plan and seed."""
    lot = random.Random(f"{plan.seed}/{block}")
    workloads = list(dict.fromkeys(cell.workload for cell in plan.cells))
    lot.shuffle(workloads)
    ordered = []
    for workload in workloads:
        cells = [cell for cell in plan.cells if cell.workload == workload]
        lot.shuffle(cells)
        ordered += cells
    return ordered


def wanted(run: Run, block: int) -> set[Cell]:
    """The cells that a block is about, from the samples of the blocks before it."""
    plan = run.meta.plan
    before = replace(run, samples=[each for each in run.samples if each.block < block])
    if not plan.target or not before.samples:
        return set(plan.cells)
    cells: set[Cell] = set()
    for workload in dict.fromkeys(cell.workload for cell in plan.cells):
        doubtful = undecided(before, workload, plan.target)
        cells.update(doubtful)
        cells.update(Cell(workload, each.interpreter, SEQUENTIAL, 1) for each in doubtful)
    return cells & set(plan.cells)


def missing(plan: Plan, samples: Sequence[Sample], block: int) -> list[Slot]:
    """What a block still lacks: no good sample yet, attempts left, and not given up before.

    A cell all of whose attempts in a block were void is given up in the blocks after it.
    """
    attempts: dict[tuple[int, Cell], int] = {}
    good: set[tuple[int, Cell]] = set()
    for sample in samples:
        key = (sample.block, sample.cell)
        attempts[key] = attempts.get(key, 0) + 1
        if sample.void is None:
            good.add(key)
    given_up = {
        (at, cell)
        for (at, cell), count in attempts.items()
        if count >= ATTEMPTS and (at, cell) not in good
    }
    return [
        Slot(block, position, cell)
        for position, cell in enumerate(order(plan, block))
        if (block, cell) not in good
        and not any(cell == other and at <= block for at, other in given_up)
    ]


def given_up(plan: Plan, samples: Sequence[Sample]) -> list[Cell]:
    """Cells that are no longer tried, for every attempt in some block was void."""
    left = {slot.cell for slot in missing(plan, samples, plan.blocks)}
    return [cell for cell in plan.cells if cell not in left]


def run(
    store: RunWriter,
    sampler: Sampler,
    on_progress: Callable[[Progress], None],
    *,
    spent_s: Seconds = 0.0,
) -> Iterator[Sample]:
    """Take what the plan still lacks; each sample is on disk before it is yielded.

    It ends when the target is reached. No block is begun that would not fit into the budget (the
    first one always is), counting `spent_s` and what earlier sessions took. Raises StoreError;
    Ctrl-C ends the sample under way and leaves no trace of it.
    """
    plan = store.meta.plan
    shapes = {shape.workload: shape for shape in plan.shapes}
    clock = _Clock(plan, store.samples, spent_s)
    for block in range(plan.blocks):
        about = wanted(store.run(), block)
        if not about:
            return
        slots = [slot for slot in missing(plan, store.samples, block) if slot.cell in about]
        if not slots:
            continue
        if block and not clock.fits(slots):
            return
        store.append_control(control.take(block, "start"))
        for index, slot in enumerate(slots):
            if block and clock.overdrawn():
                return
            attempts = sum(s.block == block and s.cell == slot.cell for s in store.samples)
            for attempt in range(attempts + 1, ATTEMPTS + 1):
                left = clock.left(slots, index, plan.blocks - block - 1)
                taken = len(store.samples)
                on_progress(Progress(slot, plan.blocks, len(slots), index, taken, left, attempt))
                sample = _take(store, sampler, slot, shapes)
                clock.add(sample)
                yield sample
                if sample.void is None:
                    break
        store.append_control(control.take(block, "end"))


def _take(
    store: RunWriter, sampler: Sampler, slot: Slot, shapes: dict[str, WorkloadShape]
) -> Sample:
    sample = sampler.take(slot, shapes[slot.cell.workload], number=len(store.samples))
    store.append(sample)
    return sample


class _Clock:
    """What has been spent, and what the rest will take, from what each cell took before."""

    def __init__(self, plan: Plan, samples: Sequence[Sample], spent_s: Seconds) -> None:
        self._plan = plan
        self._spent_before = spent_s + sum(sample.process_s for sample in samples)
        self._begun = time.monotonic()
        self._took: dict[Cell, list[Seconds]] = {}
        for sample in samples:
            self.add(sample)

    def add(self, sample: Sample) -> None:
        """Learn what its cell takes."""
        self._took.setdefault(sample.cell, []).append(sample.process_s)

    def fits(self, slots: Sequence[Slot]) -> bool:
        """Whether these slots fit into what is left of the budget; true when nothing is known."""
        if not self._plan.budget_s or not self._took:
            return True
        return self._spent() + self._expected(slots) <= self._plan.budget_s

    def overdrawn(self) -> bool:
        """Whether the budget is spent by far."""
        return bool(self._plan.budget_s) and self._spent() > OVERTIME * self._plan.budget_s

    def left(self, slots: Sequence[Slot], index: int, blocks_after: int) -> Seconds:
        """Expected time to the end at most, from a place in a block; NaN before the first sample.

        With a target later blocks have fewer cells, or there are none.
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
