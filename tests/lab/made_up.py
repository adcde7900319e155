"""Made-up runs with known answers. None of it is a measurement."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import SCHEMA, Cell, Plan, RunMeta, Sample, WorkloadShape

SEQ = Cell("example8", "3.14", "sequential", 1)
THREADS = Cell("example8", "3.14", "threads", 2)
PROCESSES = Cell("example8", "3.14", "processes", 2)
SEQ_T = Cell("example8", "3.14t", "sequential", 1)
FREE = Cell("example8", "3.14t", "threads", 2)
FREE_4 = Cell("example8", "3.14t", "threads", 4)
CELLS = (SEQ, THREADS, PROCESSES, SEQ_T, FREE, FREE_4)

FACTS: dict[str, Any] = {
    "version": "3.14.7",
    "implementation": "cpython",
    "executable": "python3.14",
    "free_threaded_build": False,
    "gil_enabled": True,
    "debug_build": False,
    "optimized_build": False,
    "lto_build": False,
    "config_args": "",
    "compiler": "GCC",
    "cache_tag": "cpython-314",
}


def meta(
    *,
    cells: tuple[Cell, ...] = CELLS,
    blocks: int = 5,
    budget_s: float = 0.0,
    mode: str = "custom",
    target: float = 0.0,
) -> RunMeta:
    workloads = dict.fromkeys(cell.workload for cell in cells)
    return RunMeta(
        schema=SCHEMA,
        run_id="made-up",
        todobatch_version="0.1.0",
        plan=Plan(
            mode=mode,
            seed=3,
            today="2026-01-05",
            blocks=blocks,
            budget_s=budget_s,
            cells=cells,
            shapes=tuple(WorkloadShape(name, 8, 10, 1.0, "d") for name in workloads),
            source={"kind": "generator", "seed": 3},
            target=target,
        ),
        machine={"cpus_available": 2, "cpu_model": "Made-up CPU"},
        interpreters={
            "3.14": FACTS,
            "3.14t": {**FACTS, "free_threaded_build": True, "gil_enabled": False},
        },
        git={},
        started="2026-01-05T10:00:00+00:00",
        ended="2026-01-05T10:10:00+00:00",
    )


def sample(cell: Cell, *, block: int = 0, wall_s: float = 1.0, **changes: Any) -> Sample:
    gil = not cell.interpreter.endswith("t")
    taken = Sample(
        schema=SCHEMA,
        number=block,
        block=block,
        position=0,
        workload=cell.workload,
        interpreter=cell.interpreter,
        executor=cell.executor,
        workers=cell.workers,
        gil_enabled=gil,
        wall_s=wall_s,
        cpu_s=wall_s,
        pool_start_s=0.0 if cell.executor == "sequential" else 0.01,
        peak_bytes=20_000_000,
        peak_method="pss+hwm",
        tasks=80,
        failed=0,
        batches=8,
        digest="d",
        started="2026-01-05T10:00:00.000+00:00",
        process_s=wall_s + 0.3,
        load_1m=0.1,
        worker_totals=[
            {"worker": f"w{n}", "batches": 8 // cell.workers} for n in range(cell.workers)
        ],
    )
    return replace(taken, **changes)


def run_of(walls: Mapping[Cell, Callable[[int], float]], *, blocks: int = 5, **changes: Any) -> Run:
    """A run in which each cell's wall time is a function of the block."""
    samples = [
        sample(cell, block=block, wall_s=wall(block), **changes)
        for block in range(blocks)
        for cell, wall in walls.items()
    ]
    return Run(meta(cells=tuple(walls), blocks=blocks), samples)


def drifting(seconds: float, wobble: float = 0.0) -> Callable[[int], float]:
    """A time that drifts by 40 % from block to block, as all do, and wobbles a little by itself."""

    def wall(block: int) -> float:
        drift = 1 + 0.4 * math.sin(block)
        return seconds * drift * (1 + (-wobble if block % 2 else wobble))

    return wall
