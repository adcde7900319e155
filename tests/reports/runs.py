"""Made-up runs for the tests of the report, written with the store that real ones are written with.

Nothing of this is shipped and none of it is a measurement.
"""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from todobatch.lab.store.schema import SCHEMA, Cell, Plan, RunMeta, Sample, WorkloadShape
from todobatch.lab.store.writer import create_run

EXECUTORS = ("sequential", "threads", "interpreters", "processes", "coroutines")
WORKERS = (1, 2, 4, 8)
KINDS = {"example8": "cpu", "pipeline": "cpu", "io-wait": "io"}
BATCHES = 16


def meta(
    *,
    mode: str = "full",
    blocks: int = 6,
    cpus: int = 2,
    workloads: tuple[str, ...] = ("example8", "io-wait"),
    workers: tuple[int, ...] = WORKERS,
) -> RunMeta:
    """What run.json of a made-up run says."""
    cells = tuple(
        Cell(workload, interpreter, executor, count)
        for workload in workloads
        for interpreter in ("3.14", "3.14t")
        for executor in EXECUTORS
        for count in ((1,) if executor == "sequential" else workers)
    )
    return RunMeta(
        schema=SCHEMA,
        run_id="made-up",
        todobatch_version="0.1.0",
        plan=Plan(
            mode=mode,
            seed=7,
            today="2026-01-05",
            blocks=blocks,
            budget_s=0.0,
            cells=cells,
            shapes=tuple(WorkloadShape(w, BATCHES, 100, 1.0, "d1") for w in workloads),
            source={"kind": "generator", "seed": 7},
            left_out=(("coroutines × report", "coroutines bring nothing without waiting"),),
        ),
        machine=machine(cpus),
        interpreters={"3.14": _facts(free=False), "3.14t": _facts(free=True)},
        git={"commit": "0123456789abcdef", "dirty": False},
        started="2026-01-05T10:00:00+00:00",
        ended="2026-01-05T10:20:00+00:00",
    )


def machine(cpus: int) -> dict[str, Any]:
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


def _facts(*, free: bool) -> dict[str, Any]:
    return {
        "version": "3.14.7",
        "implementation": "cpython",
        "executable": "/opt/python/bin/python3.14" + ("t" if free else ""),
        "free_threaded_build": free,
        "gil_enabled": not free,
        "debug_build": False,
        "optimized_build": True,
        "lto_build": False,
        "config_args": "'--disable-gil'" if free else "",
        "compiler": "GCC 12.2.0",
        "cache_tag": "cpython-314",
    }


def samples(of: RunMeta, *, seed: int = 1, noise: float = 0.02) -> list[Sample]:
    """Every cell in every block; a block as a whole is slow or fast, as on a real machine."""
    draw = random.Random(seed)
    taken: list[Sample] = []
    for block in range(of.plan.blocks):
        drift = 1 + draw.uniform(-0.15, 0.15)
        order = list(of.plan.cells)
        draw.shuffle(order)
        for position, cell in enumerate(order):
            wall = _wall(cell, int(of.machine["cpus_available"]))
            wall *= drift * (1 + draw.gauss(0, noise))
            taken.append(_sample(of, cell, len(taken), block, position, wall, draw))
    return taken


def _parallel(cell: Cell, cpus: int) -> float:
    """How many workers' worth of work this approach does at once, roughly as real ones do."""
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


def _sample(
    of: RunMeta,
    cell: Cell,
    number: int,
    block: int,
    position: int,
    wall: float,
    draw: random.Random,
) -> Sample:
    cpus = int(of.machine["cpus_available"])
    kind = KINDS[cell.workload]
    used = min(_parallel(cell, cpus), cpus) if kind == "cpu" else 0.05
    memory = {"processes": 11_000_000 * cell.workers, "interpreters": 6_000_000 * cell.workers}
    return Sample(
        schema=SCHEMA,
        number=number,
        block=block,
        position=position,
        workload=cell.workload,
        interpreter=cell.interpreter,
        executor=cell.executor,
        workers=cell.workers,
        gil_enabled=not cell.interpreter.endswith("t"),
        wall_s=wall,
        cpu_s=wall * used * 0.98,
        pool_start_s=0.04 if cell.executor == "processes" else 0.002,
        peak_bytes=14_000_000 + memory.get(cell.executor, 0) + draw.randrange(200_000),
        peak_method="vmhwm",
        tasks=BATCHES * 100,
        failed=0,
        batches=BATCHES,
        digest="d1",
        started=f"2026-01-05T10:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        process_s=wall + 0.2,
        load_1m=0.4,
        voluntary_switches=50,
        involuntary_switches=30,
        cpu_quota=[None, None],
        spans=_spans(cell, wall, draw),
    )


def _spans(cell: Cell, wall: float, draw: random.Random) -> list[list[Any]]:
    free_at = [0.0] * cell.workers
    each = wall * cell.workers / BATCHES
    spans: list[list[Any]] = []
    for batch in range(BATCHES):
        worker = free_at.index(min(free_at))
        start = free_at[worker]
        free_at[worker] = start + each * draw.uniform(0.9, 1.1)
        spans.append([f"{cell.executor}-{worker + 1}", batch, start, free_at[worker]])
    stretch = wall / max(free_at)
    copied = cell.executor in {"processes", "interpreters"}
    phases = [0.0021, 0.0012, 0.0003, 0.0007] if copied else [0.0005, 0.0, 0.0, 0.0001]
    return [[w, b, s * stretch, e * stretch, *phases] for w, b, s, e in spans]


def write(folder: Path, of: RunMeta, taken: list[Sample]) -> Path:
    """A run folder on disk."""
    with create_run(folder, of) as run:
        for sample in taken:
            run.append(sample)
    return folder


def with_a_void(taken: list[Sample], why: str) -> list[Sample]:
    """The same samples, the last one void."""
    return [*taken[:-1], replace(taken[-1], void=why)]
