"""Two cells in turns: which is faster, when the difference is a few percent.

    block: nursery ─► side A ◄─ turn, turn, … ─► controller
                 └──► side B ◄─ turn, turn, … ─┘

Both sides live at the same time and take turns of some milliseconds, in an order that is drawn for
each round; what the machine does for longer than a round hits both. On one interpreter both are
forks of one process, so that neither has the luckier memory layout (`nursery`); with one worker
each both stay on one CPU, drawn for each block. Processes are new in every block, so a block's
ratio is one observation, however many rounds it has, and verdicts rest on blocks (`sequential`).

`bench` answers which of many approaches is the fastest on samples as long as a job's; this answers
whether B is faster than A as soon as that can be known.
"""

import dataclasses
import datetime as dt
import json
import math
import os
import random
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from todobatch import runtime
from todobatch.child.tasks import TaskSource
from todobatch.child.turns import SideSpec
from todobatch.errors import ExecutorUnavailableError, MeasurementError, UsageError
from todobatch.executors import get
from todobatch.executors.base import MAX_WORKERS
from todobatch.lab.interpreters import Interpreter, find_all, worker_environment
from todobatch.lab.measure.bench import availability, inspect_file
from todobatch.lab.measure.nursery import Child, Nursery
from todobatch.lab.measure.sample import END_TIMEOUT_S, STDERR_KEPT, gist, how_it_ended
from todobatch.lab.stats import evidence as sequential
from todobatch.lab.stats.estimate import ratio_of
from todobatch.lab.store import machine
from todobatch.lab.store.schema import Cell, Estimate, Verdict
from todobatch.processors import resolve
from todobatch.units import Ratio, Seconds

LEVEL = 0.05
TARGET: Ratio = 0.005
"""An interval that reaches no further than this ends the run without a decision."""
TURN_S: Seconds = 0.005
PARALLEL_TURN_S: Seconds = 0.05
"""Several workers need longer turns: waking them takes its time."""
ROUNDS_S: Seconds = 0.3
"""Turns of both sides in a block, together: more of them make a block little better."""
LEAST_ROUNDS, MOST_ROUNDS = 12, 60
LONG_TURN_S: Seconds = 0.25
"""Of turns that last longer, because a single task does, a block has `FEW_ROUNDS`."""
FEW_ROUNDS = 3
MOST_BLOCKS = 200
BUDGET_S: Seconds = 60.0
MOST_TASKS = 200_000  # of a turn: all of them are in memory
TURN_TIMEOUT_S: Seconds = 120.0


Shape: TypeAlias = tuple[int, int]
"""Batches of a turn, and tasks in each."""


@dataclass(frozen=True, slots=True)
class Block:
    """What one pair of processes showed."""

    log_ratio: float
    """log(A's time ÷ B's): the centre of its rounds' (Hodges and Lehmann); above 0, B is faster."""
    a_s: tuple[Seconds, ...]
    """A's turns, in the order in which they were taken."""
    b_s: tuple[Seconds, ...]
    cpu: int | None
    """The CPU that both were kept on."""
    same_output: bool
    took_s: Seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """B against A."""

    a: Cell
    b: Cell
    tasks: int
    """Of a turn."""
    seed: int
    blocks: tuple[Block, ...]
    ratio: Estimate
    """B's time ÷ A's, with its 95 % interval."""
    verdict: Verdict
    """On B: ``'faster'``, ``'slower'``, ``'equivalent'`` or ``'inconclusive'``."""
    beyond_limit: bool | None
    """Whether B is slower by more than the limit, at 5 % and at any time; None: not decided, or no
    limit was given."""
    took_s: Seconds

    @property
    def same_output(self) -> bool:
        """Whether both gave the same for the same tasks."""
        return all(block.same_output for block in self.blocks)

    def as_json(self) -> dict[str, Any]:
        """As ``--format json`` has it; numbers that there are none of are null."""
        fields = dataclasses.asdict(self)
        fields["ratio"] = {
            name: value if math.isfinite(value) else None for name, value in fields["ratio"].items()
        }
        for side in ("a", "b"):
            if "/" in (spec := fields[side]["interpreter"]):
                fields[side]["interpreter"] = machine.portable(Path(spec))
        return {**fields, "same_output": self.same_output}


def beyond(logs: Sequence[float], limit: Ratio) -> bool | None:
    """Whether B is slower than A by more than `limit`; None while that is not decided.

    From log(A's time ÷ B's) of each block, by the same evidence as verdicts, against "it is slower
    by exactly that".
    """
    at = -math.log1p(limit)
    if len(logs) < 2 or sequential.p_value(logs, at) > LEVEL:
        return None
    return math.log(ratio_of(logs).estimate) < at


@dataclass(frozen=True, slots=True)
class Versus:
    """One comparison: what is compared, on what tasks, for how long."""

    a: Cell
    b: Cell
    interpreters: Mapping[str, Interpreter]
    source: TaskSource
    seed: int
    today: str
    """ISO date that due dates are judged against."""
    target: Ratio = TARGET
    budget_s: Seconds = BUDGET_S
    blocks: int = MOST_BLOCKS
    environments: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
    """What A and B have besides in their environment."""
    batch_size: int | None = None
    """Tasks a batch; None: a turn is one batch with one worker, four a worker with more."""
    decide: bool = True
    """Stop as soon as it is decided; otherwise go on until the target or the budget."""
    limit: Ratio | None = None
    """Go on until it is decided whether B is slower by more than this."""

    def run(self, on_block: Callable[[Outcome], None] = lambda _: None) -> Outcome:
        """Take blocks until it is decided, the target reached or the budget spent.

        The first block is taken whatever the budget. Raises MeasurementError when a side fails,
        dies, hangs, or runs with another GIL than its interpreter has. Ctrl-C ends both sides.
        """
        begun = time.monotonic()
        shape, turn_s = self._calibrate()
        rounds = FEW_ROUNDS
        if turn_s < LONG_TURN_S:
            rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, round(ROUNDS_S / (2 * turn_s))))
        blocks: list[Block] = []
        while True:
            blocks.append(self._block(len(blocks), shape, rounds))
            outcome = self._outcome(blocks, shape, time.monotonic() - begun)
            on_block(outcome)
            spent = time.monotonic() - begun
            if (
                self._decided([block.log_ratio for block in blocks])
                or len(blocks) >= self.blocks
                or spent + blocks[-1].took_s > self.budget_s
            ):
                return outcome

    def _decided(self, logs: Sequence[float]) -> bool:
        if self.limit is not None:
            return beyond(logs[: -sequential.CONFIRMING], self.limit) is not None
        if self.decide and sequential.settled(logs, LEVEL, self.target):
            return True
        return sequential.precise(logs, self.target)

    def _outcome(self, blocks: Sequence[Block], shape: Shape, took_s: Seconds) -> Outcome:
        logs = [block.log_ratio for block in blocks]
        ratio = ratio_of([-each for each in logs])
        verdict = sequential.verdict(logs, LEVEL)
        over = None if self.limit is None else beyond(logs, self.limit)
        return Outcome(
            self.a, self.b, math.prod(shape), self.seed, tuple(blocks), ratio, verdict, over, took_s
        )

    def _calibrate(self) -> tuple[Shape, Seconds]:
        """What a turn is, and how long the longer side's takes."""
        wished = TURN_S if self._one_worker() else PARALLEL_TURN_S
        shape = self._shape(1)
        with self._nurseries() as nurseries:
            while True:
                turns = []
                for which in (0, 1):
                    with self._side(nurseries, which, shape, None) as side:
                        turns.append(side.turn()["wall_s"])
                shorter, longer = sorted(turns)
                larger = self._shape(math.prod(shape) * min(100, wished / max(shorter, 1e-6)))
                enough = shorter >= wished / 2 or longer >= 4 * wished
                if enough or math.prod(larger) <= math.prod(shape):
                    return shape, longer
                shape = larger

    def _shape(self, tasks: float) -> Shape:
        """Batches, and tasks in each, for about so many tasks.

        The same for both sides: an output's digest depends on how tasks are cut into batches.
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
            outputs = [side.ready()["digest"] for side in sides]
            turns: tuple[list[Seconds], list[Seconds]] = ([], [])
            for _ in range(rounds):
                lot.shuffle(order)
                for which in order:
                    turns[which].append(sides[which].turn()["wall_s"])
        logs = [math.log(a / b) for a, b in zip(*turns, strict=True)]
        return Block(
            log_ratio=math.log(ratio_of(logs).estimate),
            a_s=tuple(round(each, 9) for each in turns[0]),
            b_s=tuple(round(each, 9) for each in turns[1]),
            cpu=cpu,
            same_output=outputs[0] == outputs[1],
            took_s=time.monotonic() - begun,
        )

    def _one_worker(self) -> bool:
        return self.a.workers == self.b.workers == 1

    @contextmanager
    def _nurseries(self) -> Iterator[dict[str, Nursery]]:
        nurseries: dict[str, Nursery] = {}
        try:
            for spec in {self.a.interpreter: None, self.b.interpreter: None}:
                found = self.interpreters[spec]
                nurseries[spec] = Nursery(found, worker_environment(found), "side")
            yield nurseries
        finally:
            for nursery in nurseries.values():
                nursery.close()

    @contextmanager
    def _side(
        self, nurseries: Mapping[str, Nursery], which: int, shape: Shape, cpu: int | None
    ) -> Iterator["Side"]:
        """Side 0 is A, side 1 is B."""
        cell = (self.a, self.b)[which]
        spec: SideSpec = {
            "workload": cell.workload,
            "executor": cell.executor,
            "workers": cell.workers,
            "batches": shape[0],
            "batch_size": shape[1],
            "source": self.source,
            "today": self.today,
            "cpu": cpu,
            "environment": dict(self.environments[which]),
        }
        with started(
            nurseries[cell.interpreter], spec, cell, self.interpreters[cell.interpreter]
        ) as side:
            yield side


def prepare(
    a: Cell,
    b: Cell,
    *,
    input_file: Path | None,
    input_format: str | None,
    seed: int,
    budget_s: Seconds,
    target: Ratio,
    limit: Ratio | None,
    say: Callable[[str], None],
) -> Versus:
    """Find the interpreters, look at the tasks, and refuse what cannot be compared.

    Raises UsageError, InputError and its kin, InterpreterMissingError.
    """
    today = dt.datetime.now(tz=dt.UTC).astimezone().date()
    for cell in (a, b):
        resolve(cell.workload)
        get(cell.executor)
        if not 1 <= cell.workers <= MAX_WORKERS:
            raise UsageError(
                f"{cell.workers} workers cannot be used",
                place="--workers",
                remedy=f"a number from 1 to {MAX_WORKERS}",
            )
    source: TaskSource = {"kind": "generator", "seed": seed}
    if input_file is not None:
        source = inspect_file(input_file, input_format, today, say)
    specs = list(dict.fromkeys((a.interpreter, b.interpreter)))
    found = dict(zip(specs, find_all(specs), strict=True))
    for cell in (a, b):
        if reason := availability(found[cell.interpreter]).get(cell.executor):
            raise ExecutorUnavailableError(
                reason,
                place=f"executor {cell.executor} on {cell.interpreter}",
                remedy="choose another executor or interpreter",
            )
    return Versus(
        a, b, found, source, seed, today.isoformat(), target=target, budget_s=budget_s, limit=limit
    )


@contextmanager
def started(
    nursery: Nursery, spec: SideSpec, cell: Cell, interpreter: Interpreter
) -> Iterator["Side"]:
    """A side, and its end. Raises MeasurementError."""
    reader, writer = os.pipe()
    try:
        try:
            child = nursery.bear(writer)
        finally:
            os.close(writer)
        try:
            yield Side(child, reader, spec, cell, interpreter)
            child.stdin.close()  # it ends by itself, and clears up what it has made
            child.wait(END_TIMEOUT_S)
        finally:
            child.end()
    finally:
        os.close(reader)


class Side:
    """A process that takes turns, from this side. All of it raises MeasurementError."""

    def __init__(
        self, child: Child, reader: int, spec: SideSpec, cell: Cell, interpreter: Interpreter
    ) -> None:
        self._child = child
        self._reader = reader
        self._cell = cell
        self._interpreter = interpreter
        self._ready: dict[str, Any] | None = None
        self._sources = [reader, child.stderr.fileno()]
        self._printed = b""
        self._send(json.dumps(spec).encode() + b"\n")

    def ready(self) -> dict[str, Any]:
        """What it saw when it was warm."""
        if self._ready is None:
            # Two turns of its own, and as many of the other side's where both share a CPU.
            self._ready = self._answer(4 * TURN_TIMEOUT_S)
        return self._ready

    def turn(self) -> dict[str, Any]:
        """Have it take one turn."""
        self.ready()
        self.begin_turn()
        return self.end_turn()

    def begin_turn(self) -> None:
        """Let it begin one; `end_turn` waits for it."""
        self._send(b".")

    def end_turn(self) -> dict[str, Any]:
        """What it saw in the turn."""
        return self._answer()

    def _send(self, data: bytes) -> None:
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self, timeout: Seconds | None = None) -> dict[str, Any]:
        said = b""
        timeout = TURN_TIMEOUT_S if timeout is None else timeout
        end = time.monotonic() + timeout
        while not said.endswith(b"\n"):
            left = end - time.monotonic()
            ready = select.select(self._sources, [], [], left)[0] if left > 0 else []
            if not ready:
                printed = gist(self._printed)
                what = "a turn" if self._ready else "warming up"
                cause = f"{what} took longer than {timeout:.0f} s"
                raise self._failed(f"{cause}: {printed}" if printed else cause)
            if self._reader in ready:
                if not (more := os.read(self._reader, 65_536)):
                    raise self._died()
                said += more
            elif not (more := os.read(ready[0], 65_536)):
                self._sources.remove(ready[0])
            else:  # or it would wait for ever, when it prints more than a pipe holds
                self._printed = (self._printed + more)[-STDERR_KEPT:]
        seen: dict[str, Any] = json.loads(said)
        if seen["failed"]:
            raise self._failed(f"{seen['failed']} tasks failed: {seen['error']}")
        facts = self._interpreter.facts
        if seen["gil"] and facts["free_threaded_build"]:
            raise self._failed("the GIL was on in a free-threaded interpreter")
        return seen

    def _died(self) -> MeasurementError:
        code = self._child.wait(5.0)
        os.set_blocking(self._child.stderr.fileno(), False)
        self._printed += self._child.stderr.read() or b""
        if code is None:
            return self._failed("its process went silent, and did not end")
        return self._failed(how_it_ended(code, self._printed))

    def _failed(self, cause: str) -> MeasurementError:
        cell = self._cell
        return MeasurementError(
            cause,
            place=cell.key,
            remedy="it must run by itself before it can be compared: todobatch run --generate 100 "
            f"--workload {cell.workload} --executor {cell.executor} "
            f"--interpreter {cell.interpreter}",
        )
