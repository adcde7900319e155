"""Which cells a run measures: those of a mode (quick, full) or of the user's own choice.

The result is a plan without shapes: `calibrate` finds the size of each workload's samples.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from todobatch import runtime
from todobatch.child.tasks import TaskSource
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.executors import EXECUTORS, get
from todobatch.executors.base import MAX_WORKERS
from todobatch.lab.plan.available import Unloadable
from todobatch.lab.store.schema import Cell, Plan
from todobatch.processors import WORKLOADS
from todobatch.processors.catalogue import check_workload
from todobatch.units import Ratio, Seconds

SEQUENTIAL = "sequential"
MOST_BLOCKS = 10_000
DEFAULT_BLOCKS = 40
"""The most blocks of a run by default; the target or the budget ends it earlier."""
TARGET: Ratio = 0.02
"""By default a run ends once the possible winners are known to ± this share."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mode measures unless the user chooses otherwise."""

    name: str
    workloads: tuple[str, ...]
    executors: tuple[str, ...]
    workers: tuple[int, ...]
    budget_s: Seconds


# Workers up to the number of CPUs, at most 16, so that a larger machine is used too. A block takes
# about 30 s on 2 CPUs; the budget keeps start, calibration and verdict within 3 minutes.
_QUICK_WORKERS = tuple(sorted({2, 4, min(max(runtime.cpus_available(), 2), 16)}))
QUICK = Mode("quick", ("example8", "io-wait"), tuple(EXECUTORS), _QUICK_WORKERS, 150.0)
FULL = Mode("full", tuple(WORKLOADS), tuple(EXECUTORS), (1, 2, 4, 8), 3600.0)
CUSTOM = Mode("custom", ("example8",), tuple(EXECUTORS), (1, 2, 4, 8), 600.0)
MODES: Mapping[str, Mode] = {mode.name: mode for mode in (QUICK, FULL, CUSTOM)}

# Cells that quick mode leaves out to save time, because the answer is known.
_LEFT_OUT_WHEN_QUICK = {
    ("example8", "stealing"): "its batches are alike, so there is nothing to steal",
    ("io-wait", "stealing"): "its batches are alike, so there is nothing to steal",
    ("example8", "elastic"): "at best it finds a number of workers that is measured anyway",
    ("io-wait", "elastic"): "at best it finds a number of workers that is measured anyway",
    ("example8", "coroutines"): "it never awaits, so coroutines run it as sequential does",
    ("io-wait", "interpreters"): "interpreters wait as threads do, and take longer to start",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose to measure; None leaves it to the mode."""

    mode: str | None = None
    workloads: tuple[str, ...] | None = None
    executors: tuple[str, ...] | None = None
    workers: tuple[int, ...] | None = None
    interpreters: tuple[str, ...] | None = None
    blocks: int | None = None
    budget_s: Seconds | None = None
    target: Ratio | None = None
    seed: int | None = None
    batch_size: int | None = None
    """Tasks of a batch; None lets `calibrate` choose."""

    def resolved_mode(self) -> Mode:
        """Return the named mode; without a name quick, or custom when cells were chosen."""
        chose_cells = (self.workloads, self.executors, self.workers, self.interpreters)
        default = QUICK if all(each is None for each in chose_cells) else CUSTOM
        return default if self.mode is None else MODES[self.mode]

    def resolved_workloads(self) -> tuple[str, ...]:
        """Return the chosen workloads, else those of the mode; each once."""
        return tuple(dict.fromkeys(self.workloads or self.resolved_mode().workloads))

    def resolved_executors(self) -> tuple[str, ...]:
        """Return the chosen executors, else those of the mode; each once."""
        return tuple(dict.fromkeys(self.executors or self.resolved_mode().executors))

    def resolved_workers(self) -> tuple[int, ...]:
        """Return the chosen numbers of workers, else those of the mode; each once."""
        return tuple(dict.fromkeys(self.workers or self.resolved_mode().workers))

    def check(self) -> None:
        """Raise UsageError for an unknown name or a number out of range; nothing is imported."""
        for workload in self.resolved_workloads():
            check_workload(workload)
        for executor in self.resolved_executors():
            get(executor)
        check_workers(self.resolved_workers())
        for value, least, most, parameter in (
            (self.blocks, 1, MOST_BLOCKS, "`blocks`"),
            (self.batch_size, 1, 1_000_000, "`batch_size`"),
            (self.seed, 0, 2**63, "`seed`"),
        ):
            if value is not None:
                check_number(value, least, most, parameter)
        if self.target is not None and not 0 <= self.target < 1:
            raise UsageError(
                f"{self.target:.4g} is not a valid target",
                place="`target`",
                remedy="pass a fraction from 0 up to 1, such as 2%; 0 measures all cells in all "
                "blocks",
            )
        if self.budget_s is not None and not 0 < self.budget_s < inf:
            raise UsageError(
                f"{self.budget_s} s is not a valid budget",
                place="`budget_s`",
                remedy="pass more than 0 seconds, or leave it out for no limit",
            )


def draft(
    choice: Choice,
    available: Mapping[str, Mapping[str, str | None]],
    *,
    source: TaskSource | None = None,
    unloadable: Unloadable = MappingProxyType({}),
) -> Plan:
    """Return the plan of a run for a choice, still without the shapes of its samples.

    `available` has for each interpreter and executor None, or the reason why it cannot work there.
    `unloadable` has why workloads cannot be loaded. Such cells are left out, with the reason.
    Sequential is always measured, because speed-ups are relative to it.

    Raises UsageError for an unknown name and for a number out of range, and
    ExecutorUnavailableError when no executor that was asked for can be measured.
    """
    choice.check()
    mode, executors = choice.resolved_mode(), choice.resolved_executors()
    workloads, workers = choice.resolved_workloads(), choice.resolved_workers()
    seed = random.SystemRandom().randrange(2**32) if choice.seed is None else choice.seed
    left_out = list(_left_out(mode, choice, available))
    left_out += [(f"{workload} on {label}", why) for (workload, label), why in unloadable.items()]
    absent = {what for what, _ in left_out}
    cells = tuple(
        Cell(workload, interpreter, executor, count)
        for workload in workloads
        for interpreter in available
        for executor in dict.fromkeys((SEQUENTIAL, *executors))
        for count in ((1,) if executor == SEQUENTIAL else workers)
        if f"{executor} on {interpreter}" not in absent
        and f"{executor} × {workload}" not in absent
        and f"{workload} on {interpreter}" not in absent
    )
    if choice.executors is not None and not any(cell.executor in executors for cell in cells):
        raise _nothing_left(executors, left_out)
    # 0 means no limit, as when the user chose the number of blocks.
    budget_s = mode.budget_s if choice.blocks is None or mode is QUICK else 0.0
    return Plan(
        mode=mode.name,
        seed=seed,
        today=runtime.today().isoformat(),
        blocks=DEFAULT_BLOCKS if choice.blocks is None else choice.blocks,
        budget_s=budget_s if choice.budget_s is None else choice.budget_s,
        cells=cells,
        shapes=(),
        source=dict(source or {"kind": "generator", "seed": seed}),
        left_out=tuple(left_out),
        target=TARGET if choice.target is None else choice.target,
    )


def _left_out(
    mode: Mode, choice: Choice, available: Mapping[str, Mapping[str, str | None]]
) -> Iterator[tuple[str, str]]:
    workloads, executors = choice.resolved_workloads(), choice.resolved_executors()
    for interpreter, reasons in available.items():
        for executor in executors:
            if reason := reasons.get(executor):
                yield f"{executor} on {interpreter}", reason
    if mode is QUICK and choice.executors is None:
        for (workload, executor), reason in _LEFT_OUT_WHEN_QUICK.items():
            if workload in workloads and executor in executors:
                yield f"{executor} × {workload}", reason


def _nothing_left(
    executors: Sequence[str], left_out: Sequence[tuple[str, str]]
) -> ExecutorUnavailableError:
    reasons = "; ".join(f"{what}: {why}" for what, why in left_out)
    return ExecutorUnavailableError(
        f"nothing that was asked for can be measured: {reasons}",
        place=f"executor {', '.join(executors)}",
        remedy="choose other executors, or an interpreter that `todobatch interpreters` lists",
    )


def check_workers(workers: Iterable[int]) -> None:
    """Raise UsageError for a number of workers that cannot be started."""
    hint = f"; this machine has {runtime.cpus_available()} CPUs"
    for count in workers:
        check_number(count, 1, MAX_WORKERS, "`workers`", hint)


def check_number(value: int, least: int, most: int, parameter: str, hint: str = "") -> None:
    """Raise UsageError for a number that is not from `least` to `most`."""
    if not least <= value <= most:
        raise UsageError(
            f"{value} is out of range",
            place=parameter,
            remedy=f"pass a number from {least} to {most}{hint}",
        )
