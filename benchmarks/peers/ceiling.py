"""How close executors come to the machine's limit: ``python benchmarks/peers/ceiling.py``

The ceiling is the time of independent single-threaded processes that run at the same time, each
pinned to one CPU. Each gets an equal share of the batches; nothing is shared or copied. In a block
all processes are forks of one process, and ceiling and executor alternate in random order. The
ceiling's time is that of its slowest process. The table gives the ceiling's time ÷ the executor's:
the share of the machine that the executor uses. The loads are the workload `example8` and tasks of
ten microseconds, both in batches of 100.

The goals are 0.97 and 0.90 for threads on 3.14t, and 0.93 and 0.85 for processes. They assume that
the short task takes ten microseconds, so the table also gives its time on this machine.
"""

import argparse
import datetime as dt
import math
import random
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from todobatch import runtime
from todobatch.child.turns import SideSpec
from todobatch.lab.interpreters import (
    DEFAULT_INTERPRETERS,
    Interpreter,
    find_all,
    worker_environment,
)
from todobatch.lab.measure.nursery import Nursery
from todobatch.lab.measure.side import Side, open_side
from todobatch.lab.stats.estimate import ratio_of
from todobatch.lab.store.schema import Cell

LOADS = {"example8": 300e-6, "benchmarks.peers.known:ten_microseconds": 10e-6}
"""Workload -> approximate seconds of a task."""
ROWS = (
    ("threads", "3.14t", (0.97, 0.90)),
    ("processes", "3.14", (0.93, 0.85)),
    ("processes", "3.14t", (0.93, 0.85)),
)
BATCH = 100
ROUNDS = 6
TURN_S = 0.4
"""Seconds of a turn. The kernel may keep threads with shorter lives on one CPU."""


@dataclass(frozen=True)
class Load:
    """One workload, split into batches that can be shared evenly."""

    workload: str
    batches: int

    def spec(self, executor: str, workers: int, batches: int, cpu: int | None) -> SideSpec:
        """Return the description of one process: what it runs in each turn."""
        return SideSpec(
            workload=self.workload,
            executor=executor,
            workers=workers,
            batches=batches,
            batch_size=BATCH,
            source={"kind": "generator", "seed": 1},
            today=dt.date(2026, 11, 25),
            cpu=cpu,
        )


def main() -> int:
    """Measure every row and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--turn", type=float, default=TURN_S, help="approximate seconds of a turn")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    interpreters = dict(zip(DEFAULT_INTERPRETERS, find_all(DEFAULT_INTERPRETERS), strict=True))
    print("| executor | interpreter | load | us a task | share of the ceiling | goal | |")
    print("|---|---|---|---:|---:|---:|---|", flush=True)
    cpus = len(runtime.cpus_allowed())
    if not cpus:
        raise SystemExit("ceiling.py: this system cannot pin processes to CPUs; run it on Linux")
    for executor, spec, goals in ROWS:
        for (workload, task_s), goal in zip(LOADS.items(), goals, strict=True):
            share = max(1, round(options.turn / task_s / BATCH))  # batches for each CPU
            load = Load(workload, share * cpus)
            blocks = [
                block(load, executor, interpreters[spec], random.Random(f"{options.seed}/{n}"))
                for n in range(options.blocks)
            ]
            ratio = ratio_of([log for log, _ in blocks])
            task_us = median(task for _, task in blocks) * 1e6
            met = ratio.estimate >= goal
            print(
                f"| {executor} × {cpus} | {spec} | {workload.rpartition(':')[2]} | "
                f"{task_us:.1f} | {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] | "
                f"{goal:.2f} | {'met' if met else 'missed'} |",
                flush=True,
            )
    return 0


def block(
    load: Load, executor: str, interpreter: Interpreter, lot: random.Random
) -> tuple[float, float]:
    """Measure one set of processes.

    Returns the centre of log(ceiling's time ÷ executor's time) over the rounds, and the seconds
    that a task took at the ceiling.
    """
    cpus = runtime.cpus_allowed()
    with ExitStack() as stack:
        nursery = Nursery(interpreter, worker_environment(interpreter), "turns")
        stack.callback(nursery.close)

        def side(name: str, workers: int, batches: int, cpu: int | None) -> Side:
            cell = Cell(load.workload, interpreter.spec, name, workers)
            spec = load.spec(name, workers, batches, cpu)
            return stack.enter_context(open_side(nursery, spec, cell, interpreter))

        alone = [side("sequential", 1, load.batches // len(cpus), cpu) for cpu in cpus]
        measured = side(executor, len(cpus), load.batches, None)
        for each in (*alone, measured):
            each.ready()
        logs, tasks = [], []
        for _ in range(ROUNDS):
            times = {}
            for which in lot.sample(("ceiling", "executor"), 2):
                sides = alone if which == "ceiling" else [measured]
                for each in sides:
                    each.begin_turn()
                times[which] = max(each.end_turn().wall_s for each in sides)
            logs.append(math.log(times["ceiling"] / times["executor"]))
            tasks.append(times["ceiling"] * len(cpus) / load.batches / BATCH)
    return math.log(ratio_of(logs).estimate), median(tasks)


if __name__ == "__main__":
    sys.exit(main())
