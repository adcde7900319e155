"""Made-up runs with known answers, for every test that needs one. None of it is a measurement.

`meta`, `sample` and `run_of` make a small run whose times a test chooses. `full_meta` and
`full_samples` make a run of a whole matrix whose times scale roughly as real ones do.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import SCHEMA, Cell, Plan, RunMeta, Sample, WorkloadShape
from todobatch.lab.store.writer import create_run

SEQ = Cell("example8", "3.14", "sequential", 1)
THREADS = Cell("example8", "3.14", "threads", 2)
PROCESSES = Cell("example8", "3.14", "processes", 2)
SEQ_T = Cell("example8", "3.14t", "sequential", 1)
FREE = Cell("example8", "3.14t", "threads", 2)
FREE_4 = Cell("example8", "3.14t", "threads", 4)
CELLS = (SEQ, THREADS, PROCESSES, SEQ_T, FREE, FREE_4)

FULL_EXECUTORS = ("sequential", "threads", "interpreters", "processes", "coroutines")
FULL_WORKERS = (1, 2, 4, 8)
FULL_BATCHES = 16
KINDS = {"example8": "cpu", "pipeline": "cpu", "io-wait": "io"}

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
    "compiler": "GCC 12.2.0",
    "cache_tag": "cpython-314",
}
FREE_FACTS: dict[str, Any] = {
    **FACTS,
    "executable": "python3.14t",
    "free_threaded_build": True,
    "gil_enabled": False,
    "config_args": "'--disable-gil'",
}


def meta(
    *,
    cells: tuple[Cell, ...] = CELLS,
    blocks: int = 5,
    budget_s: float = 0.0,
    mode: str = "custom",
    target: float = 0.0,
    batches: int = 8,
    batch_size: int = 10,
    left_out: tuple[tuple[str, str], ...] = (),
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
            shapes=tuple(WorkloadShape(w, batches, batch_size, 1.0, "d") for w in workloads),
            source={"kind": "generator", "seed": 3},
            left_out=left_out,
            target=target,
        ),
        machine={"cpus_available": 2, "cpu_model": "Made-up CPU"},
        interpreters={"3.14": FACTS, "3.14t": FREE_FACTS},
        git={},
        started="2026-01-05T10:00:00+00:00",
        ended="2026-01-05T10:20:00+00:00",
    )


def sample(cell: Cell, *, block: int = 0, wall_s: float = 1.0, **changes: Any) -> Sample:
    made = Sample(
        schema=SCHEMA,
        number=block,
        block=block,
        position=0,
        workload=cell.workload,
        interpreter=cell.interpreter,
        executor=cell.executor,
        workers=cell.workers,
        gil_enabled=not cell.interpreter.endswith("t"),
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
    return replace(made, **changes)


def run_of(walls: Mapping[Cell, Callable[[int], float]], *, blocks: int = 5, **changes: Any) -> Run:
    """Make a run in which each cell's wall time is a function of the block."""
    samples = [
        sample(cell, block=block, wall_s=wall(block), **changes)
        for block in range(blocks)
        for cell, wall in walls.items()
    ]
    return Run(meta(cells=tuple(walls), blocks=blocks), samples)


def drifting(seconds: float, wobble: float = 0.0) -> Callable[[int], float]:
    """Return a time that drifts by 40 % with all others, and varies a little by itself."""

    def wall(block: int) -> float:
        drift = 1 + 0.4 * math.sin(block)
        return seconds * drift * (1 + (-wobble if block % 2 else wobble))

    return wall


def with_a_void(samples: list[Sample], why: str) -> list[Sample]:
    """Return the same samples, with the last one void."""
    return [*samples[:-1], replace(samples[-1], void=why)]


def write_run(folder: Path, run_meta: RunMeta, samples: list[Sample]) -> Path:
    """Write a run folder, and return its path."""
    with create_run(folder, run_meta) as writer:
        for each in samples:
            writer.append(each)
    return folder


# A whole matrix -----------------------------------------------------------------------------------


def full_machine(cpus: int) -> dict[str, Any]:
    return {
        "cpu_model": "Made-up CPU",
        "cpus": cpus,
        "cpus_available": cpus,
        "affinity": list(range(cpus)),
        "memory_bytes": 8_000_000_000,
        "swap_bytes": None,
        "os": "Made-up OS 1",
        "kernel": "Linux 6.1",
        "architecture": "x86_64",
        "virtualised": None,
        "vcpu_packing": None,
        "cpu_quota": None,
        "governor": None,
        "turbo": True,
        "load": [0.1, 0.2, 0.3],
    }


def full_meta(
    *,
    mode: str = "full",
    blocks: int = 6,
    cpus: int = 2,
    workloads: tuple[str, ...] = ("example8", "io-wait"),
    workers: tuple[int, ...] = FULL_WORKERS,
) -> RunMeta:
    cells = tuple(
        Cell(workload, interpreter, executor, count)
        for workload in workloads
        for interpreter in ("3.14", "3.14t")
        for executor in FULL_EXECUTORS
        for count in ((1,) if executor == "sequential" else workers)
    )
    small = meta(
        cells=cells, blocks=blocks, mode=mode, batches=FULL_BATCHES, batch_size=100,
        left_out=(("coroutines × report", "coroutines bring nothing without waiting"),),
    )  # fmt: skip
    git = {"commit": "0123456789abcdef", "dirty": False}
    return replace(small, machine=full_machine(cpus), git=git)


def full_samples(of: RunMeta, *, seed: int = 1, noise: float = 0.02) -> list[Sample]:
    """Make samples of every cell in every block; whole blocks are slow or fast."""
    draw = random.Random(seed)
    samples: list[Sample] = []
    cpus = int(of.machine["cpus_available"])
    for block in range(of.plan.blocks):
        drift = 1 + draw.uniform(-0.15, 0.15)
        order = list(of.plan.cells)
        draw.shuffle(order)
        for position, cell in enumerate(order):
            wall = _wall(cell, cpus) * drift * (1 + draw.gauss(0, noise))
            number = len(samples)
            samples.append(_full_sample(cell, number, block, position, wall, cpus, draw))
    return samples


def _full_sample(
    cell: Cell, number: int, block: int, position: int, wall: float, cpus: int, draw: random.Random
) -> Sample:
    used = min(_parallel(cell, cpus), cpus) if KINDS[cell.workload] == "cpu" else 0.05
    memory = {"processes": 11_000_000 * cell.workers, "interpreters": 6_000_000 * cell.workers}
    return sample(
        cell,
        block=block,
        wall_s=wall,
        number=number,
        position=position,
        cpu_s=wall * used * 0.98,
        pool_start_s=0.04 if cell.executor == "processes" else 0.002,
        peak_bytes=14_000_000 + memory.get(cell.executor, 0) + draw.randrange(200_000),
        peak_method="vmhwm",
        tasks=FULL_BATCHES * 100,
        batches=FULL_BATCHES,
        started=f"2026-01-05T10:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        process_s=wall + 0.2,
        load_1m=0.4,
        voluntary_switches=50,
        involuntary_switches=30,
        cpu_quota=[None, None],
        spans=_spans(cell, wall, draw),
        worker_totals=[],
    )


def _parallel(cell: Cell, cpus: int) -> float:
    """Return an approach's speed-up over sequential, roughly as in real runs."""
    n = min(cell.workers, cpus)
    if KINDS[cell.workload] == "io":
        return cell.workers if cell.executor != "sequential" else 1.0
    free = cell.interpreter.endswith("t")
    share = {"threads": 0.98 if free else 0.0, "interpreters": 0.88, "processes": 0.85}
    factor = share.get(cell.executor, 0.0)
    return 1 / ((1 - factor) + factor / n)


def _wall(cell: Cell, cpus: int) -> float:
    slower = 1.06 if cell.interpreter.endswith("t") else 1.0
    overhead = {"processes": 0.03, "interpreters": 0.02}.get(cell.executor, 0.005)
    return slower / _parallel(cell, cpus) + overhead + 0.003 * max(0, cell.workers - cpus)


def _spans(cell: Cell, wall: float, draw: random.Random) -> list[list[Any]]:
    free_at = [0.0] * cell.workers
    each = wall * cell.workers / FULL_BATCHES
    spans: list[list[Any]] = []
    for batch in range(FULL_BATCHES):
        worker = free_at.index(min(free_at))
        start = free_at[worker]
        free_at[worker] = start + each * draw.uniform(0.9, 1.1)
        spans.append([f"{cell.executor}-{worker + 1}", batch, start, free_at[worker]])
    stretch = wall / max(free_at)
    copied = cell.executor in {"processes", "interpreters"}
    phases = [0.0021, 0.0012, 0.0003, 0.0007] if copied else [0.0005, 0.0, 0.0, 0.0001]
    return [[w, b, s * stretch, e * stretch, *phases] for w, b, s, e in spans]
