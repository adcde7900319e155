"""Finds out whether B is faster than A, even by a few percent: two cells run in turns.

    block: nursery ─► side A ◄─ turn, turn, … ─► controller
                 └──► side B ◄─ turn, turn, … ─┘

Both sides live at the same time and take turns of some milliseconds, in a random order in each
round. Whatever the machine does for longer than a round affects both. On one interpreter both are
forks of one process, so neither has the luckier memory layout (`nursery`). With one worker each,
both stay on one CPU, which is chosen at random for each block. Every block has new processes, so
its ratio is one observation, however many rounds it has. Verdicts rest on blocks.

`bench` finds the fastest of many approaches with samples as long as a job. This module finds out
whether B is faster than A as soon as that can be known.
"""

import datetime as dt
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from todobatch import runtime
from todobatch.child.tasks import TaskSource
from todobatch.child.turns import SideSpec
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import get
from todobatch.lab.interpreters import Interpreter, find_all, worker_environment
from todobatch.lab.measure.difference import LEVEL, Block, Clock, Difference, beyond, decided
from todobatch.lab.measure.nursery import Nursery
from todobatch.lab.measure.schedule import beyond_budget
from todobatch.lab.measure.side import Side, Turn, open_side
from todobatch.lab.plan.available import availability, why_not_loaded
from todobatch.lab.plan.cells import check_workers
from todobatch.lab.plan.conditions import inspect_file
from todobatch.lab.progress import Progress
from todobatch.lab.stats import evidence
from todobatch.lab.stats.estimate import ratio_of
from todobatch.lab.store.schema import Cell
from todobatch.processors.catalogue import check_workload
from todobatch.units import Ratio, Seconds

TARGET: Ratio = 0.005
"""A comparison ends as inconclusive once its ratio is known to ± this share."""
TURN_S: Seconds = 0.005
PARALLEL_TURN_S: Seconds = 0.05
"""Turns of several workers are longer, because waking the workers takes time."""
ROUNDS_S: Seconds = 0.3
"""The time that the rounds of a block take together; more rounds hardly improve a block."""
LEAST_ROUNDS, MOST_ROUNDS = 12, 60
LONG_TURN_S: Seconds = 0.25
"""A block has only `FEW_ROUNDS` rounds if a turn takes longer than this."""
FEW_ROUNDS = 3
MOST_BLOCKS = 200
BUDGET_S: Seconds = 60.0
MOST_TASKS = 200_000
"""The most tasks of a turn, because all of them are in memory."""

Shape: TypeAlias = tuple[int, int]
"""The number of batches of a turn, and of tasks of each batch."""


@dataclass(frozen=True, slots=True)
class Versus:
    """One comparison: what is compared, on which tasks, for how long."""

    a: Cell
    b: Cell
    interpreters: Mapping[str, Interpreter]
    source: TaskSource
    seed: int
    today: str
    """The ISO date that due dates are compared with."""
    target: Ratio = TARGET
    budget_s: Seconds = BUDGET_S
    blocks: int = MOST_BLOCKS
    batch_size: int | None = None
    """Tasks of a batch. None: a turn has one batch with one worker, else four for each worker."""
    limit: Ratio | None = None
    """If set, the comparison ends when it is decided whether B is slower by more than this."""

    def run(
        self,
        on_block: Callable[[Difference], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Difference:
        """Measure blocks until it is decided, the target is reached or the budget is spent.

        The first block is measured whatever the budget; `warn` says before it if it will not fit.
        `on_block` gets what is known after each block. Raises MeasurementError when a side fails,
        dies, hangs, or runs with another GIL than its interpreter has. Ctrl-C ends both sides.
        """
        begun = time.monotonic()
        shape, turn_s = self._calibrate()
        rounds = FEW_ROUNDS
        if turn_s < LONG_TURN_S:
            rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, round(ROUNDS_S / (2 * turn_s))))
        least_s = 2 * (rounds + 1) * turn_s
        if (spent := time.monotonic() - begun) + least_s > self.budget_s:
            warn(beyond_budget(self.budget_s, spent, least_s))
        blocks: list[Block] = []
        while True:
            blocks.append(self._block(len(blocks), shape, rounds))
            logs = [block.log_ratio for block in blocks]
            found = Difference(
                a=self.a,
                b=self.b,
                tasks=math.prod(shape),
                seed=self.seed,
                blocks=tuple(blocks),
                ratio=ratio_of([-each for each in logs]),
                verdict=evidence.verdict(logs, LEVEL),
                beyond_limit=None if self.limit is None else beyond(logs, self.limit),
                took_s=time.monotonic() - begun,
            )
            on_block(found)
            spent = time.monotonic() - begun
            if (
                decided(logs, target=self.target, limit=self.limit)
                or len(blocks) >= self.blocks
                or spent + blocks[-1].took_s > self.budget_s
            ):
                return found

    def _calibrate(self) -> tuple[Shape, Seconds]:
        """Return the size of a turn, and how long the slower side takes for it."""
        wished = TURN_S if self._one_worker() else PARALLEL_TURN_S
        shape = self._shape(1)
        with self._nurseries() as nurseries:
            while True:
                turns = []
                for which in (0, 1):
                    with self._side(nurseries, which, shape, None) as side:
                        turn = side.turn()
                        turns.append(turn.cpu_s or turn.wall_s)
                shorter, longer = sorted(turns)
                larger = self._shape(math.prod(shape) * min(100, wished / max(shorter, 1e-6)))
                enough = shorter >= wished / 2 or longer >= 4 * wished
                if enough or math.prod(larger) <= math.prod(shape):
                    return shape, longer
                shape = larger

    def _shape(self, tasks: float) -> Shape:
        """Return the number and size of batches for a turn of about `tasks` tasks.

        It is the same for both sides: an output's digest depends on where batches begin and end.
        """
        tasks = min(tasks, MOST_TASKS)
        even = 1 if self._one_worker() else 4 * max(self.a.workers, self.b.workers)
        if self.batch_size is None:
            return even, max(1, round(tasks / even))
        return even * max(1, round(tasks / even / self.batch_size)), self.batch_size

    def _block(self, number: int, shape: Shape, rounds: int) -> Block:
        begun = time.monotonic()
        lot = random.Random(f"{self.seed}/{number}")
        cpu = None
        if self._one_worker() and (allowed := runtime.cpus_allowed()):
            cpu = lot.choice(allowed)
        order = [0, 1]
        lot.shuffle(order)
        with (
            self._nurseries() as nurseries,
            self._side(nurseries, order[0], shape, cpu) as first,
            self._side(nurseries, order[1], shape, cpu) as second,
        ):
            sides = [first, second] if order == [0, 1] else [second, first]
            outputs = [side.ready().digest for side in sides]
            turns: tuple[list[Turn], list[Turn]] = ([], [])
            for _ in range(rounds):
                lot.shuffle(order)
                for which in order:
                    turns[which].append(sides[which].turn())
        clock, a_s, b_s = timed(*turns, one_worker=self._one_worker())
        logs = [math.log(a / b) for a, b in zip(a_s, b_s, strict=True)]
        return Block(
            log_ratio=math.log(ratio_of(logs).estimate),
            a_s=tuple(round(each, 9) for each in a_s),
            b_s=tuple(round(each, 9) for each in b_s),
            clock=clock,
            cpu=cpu,
            same_output=outputs[0] == outputs[1],
            took_s=time.monotonic() - begun,
        )

    def _one_worker(self) -> bool:
        return self.a.workers == self.b.workers == 1

    @contextmanager
    def _nurseries(self) -> Iterator[dict[str, Nursery]]:
        with ExitStack() as opened:
            nurseries = {}
            for spec in dict.fromkeys((self.a.interpreter, self.b.interpreter)):
                found = self.interpreters[spec]
                nursery = Nursery(found, worker_environment(found), "turns")
                nurseries[spec] = opened.enter_context(closing(nursery))
            yield nurseries

    def _side(
        self, nurseries: Mapping[str, Nursery], which: int, shape: Shape, cpu: int | None
    ) -> AbstractContextManager[Side]:
        """Start a side; side 0 is A, side 1 is B."""
        cell = (self.a, self.b)[which]
        spec = SideSpec(
            workload=cell.workload,
            executor=cell.executor,
            workers=cell.workers,
            batches=shape[0],
            batch_size=shape[1],
            source=self.source,
            today=dt.date.fromisoformat(self.today),
            cpu=cpu,
        )
        interpreter = self.interpreters[cell.interpreter]
        return open_side(nurseries[cell.interpreter], spec, cell, interpreter)


def timed(
    a: Sequence[Turn], b: Sequence[Turn], *, one_worker: bool
) -> tuple[Clock, list[Seconds], list[Seconds]]:
    """Return the clock that fits the turns of a block, and each side's times by it.

    Sides that only compute are compared by CPU time, which other programs hardly change. Wall time
    is used where a turn waited, and where several workers share the work.
    """
    cpu_a = [turn.cpu_s for turn in a if turn.cpu_s]
    cpu_b = [turn.cpu_s for turn in b if turn.cpu_s]
    if one_worker and len(cpu_a) == len(a) and len(cpu_b) == len(b):
        return "cpu", cpu_a, cpu_b
    return "wall", [turn.wall_s for turn in a], [turn.wall_s for turn in b]


def prepare(
    a: Cell,
    b: Cell,
    progress: Progress,
    *,
    input_file: Path | None,
    input_format: str | None,
    seed: int,
    budget_s: Seconds,
    target: Ratio,
    limit: Ratio | None,
) -> Versus:
    """Find the interpreters, read the tasks once, and refuse what cannot be compared.

    Raises UsageError, InputError and its subclasses, InterpreterMissingError and
    ExecutorUnavailableError.
    """
    today = runtime.today()
    for cell in (a, b):
        check_workload(cell.workload)
        get(cell.executor)
    check_workers((a.workers, b.workers))
    source: TaskSource = {"kind": "generator", "seed": seed}
    if input_file is not None:
        source = inspect_file(input_file, input_format, today, progress)
    specs = list(dict.fromkeys((a.interpreter, b.interpreter)))
    found = dict(zip(specs, find_all(specs), strict=True))
    for cell in (a, b):
        if reason := availability(found[cell.interpreter]).get(cell.executor):
            raise ExecutorUnavailableError(
                reason,
                place=f"executor {cell.executor} on {cell.interpreter}",
                remedy="choose another executor or interpreter",
            )
        if error := why_not_loaded(found[cell.interpreter], cell, source):
            raise error
    return Versus(
        a, b, found, source, seed, today.isoformat(), target=target, budget_s=budget_s, limit=limit
    )
