"""Compare alternatives with plain threads: ``python benchmarks/peers/executors_compared.py``

Five kinds of load run on `threads` and on every alternative, on a free-threaded interpreter. They
are balanced, skewed, tiny, large to copy, and oversubscribed (20 and 100 workers). Each sample is a
fresh process; a block has one sample of each, in random order. The table gives the time of
`threads` ÷ the time of the alternative, and the same for CPU time; above 1 the alternative is
better. It also gives the alternative's lines of code and the choices that its user must make.
"""

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import todobatch.executors
from todobatch import runtime
from todobatch.errors import MeasurementError
from todobatch.executors.base import Placement
from todobatch.lab.interpreters import find
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.stats.estimate import ratio_of
from todobatch.lab.store.schema import Cell, Estimate, Sample, WorkloadShape

FOLDER = Path(todobatch.executors.__file__).parent


@dataclass(frozen=True)
class Way:
    """One way to run batches in parallel."""

    name: str
    executor: str
    placement: Placement
    files: tuple[str, ...]
    """Files and folders in the executors' folder that it needs beyond those of `threads`."""
    choices: str
    """What the user of this way must decide."""


THREADS = Way("threads", "threads", "none", (), "none")
WAYS = (
    THREADS,
    Way("threads, spread", "threads", "spread", (), "whether others need the CPUs"),
    Way("stealing", "stealing", "none", ("stealing.py",), "none"),
    Way("elastic", "elastic", "none", ("elastic.py",), "none"),
    Way("processes", "processes", "none", ("processes.py", "pool"),
        "tasks, results and processor must pickle"),
    Way("interpreters", "interpreters", "none", ("interpreters.py", "pool"),
        "they must pickle, and every import must support subinterpreters"),
)  # fmt: skip


@dataclass(frozen=True)
class Load:
    """What is run: the number of batches, their size, and the number of workers."""

    name: str
    workload: str
    batches: int
    batch_size: int
    workers: int


def loads(scale: float) -> tuple[Load, ...]:
    """Return all loads. At scale 1 each takes `threads` about half a second on two CPUs."""
    cpus = runtime.cpus_available()

    def load(name: str, workload: str, batches: int, size: int, workers: int = cpus) -> Load:
        return Load(name, workload, max(8, round(batches * scale)), size, workers)

    return (
        load("balanced", "example8", 32, 100),
        load("skewed", "skewed", 2_000, 20),
        load("tiny tasks, one a batch", "benchmarks.peers.known:ten_microseconds", 20_000, 1),
        load("large results", "payload", 2_800, 10),
        load("20 workers", "example8", 80, 40, 20),
        load("100 workers", "example8", 200, 16, 100),
    )


def main() -> int:
    """Measure all loads, and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--interpreter", default="3.14t")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for the sizes of the loads"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| way | lines of code | what its user must decide |\n|---|---:|---|")
    for way in WAYS:
        print(f"| {way.name} | {lines(way.files)} | {way.choices} |")
    print("\n| load | way | time of threads ÷ its time | CPU time of threads ÷ its | |")
    print("|---|---|---:|---:|---|", flush=True)
    interpreter = find(options.interpreter)
    sampler = Sampler(
        {options.interpreter: interpreter}, {"kind": "generator", "seed": options.seed},
        "2026-11-25",
    )  # fmt: skip
    for load in loads(options.scale):
        samples: dict[Way, list[Sample]] = {way: [] for way in WAYS}
        for block in range(options.blocks):
            lot = random.Random(f"{options.seed}/{load.name}/{block}")
            for way in lot.sample(WAYS, len(WAYS)):
                samples[way].append(measure(sampler, load, way, options, block, samples))
        for way in WAYS[1:]:
            wall, cpu = (
                ratio(samples[THREADS], samples[way], name) for name in ("wall_s", "cpu_s")
            )
            print(
                f"| {load.name} | {way.name} | {shown(wall)} | {shown(cpu)} | {verdict(wall)} |",
                flush=True,
            )
    sampler.close()
    return 0


def measure(
    sampler: Sampler,
    load: Load,
    way: Way,
    options: argparse.Namespace,
    block: int,
    samples: dict[Way, list[Sample]],
) -> Sample:
    """Measure one sample. Raises MeasurementError when it is void."""
    cell = Cell(load.workload, options.interpreter, way.executor, load.workers)
    before = next((each for of_way in samples.values() for each in of_way), None)
    digest = "" if before is None else before.digest
    shape = WorkloadShape(load.workload, load.batches, load.batch_size, digest=digest)
    sample = sampler.take(Slot(block, 0, cell, way.placement), shape, number=0)
    if sample.void is not None:
        raise MeasurementError(
            sample.void,
            place=f"{load.name}, {way.name}",
            remedy="run this load alone with todobatch run",
        )
    return sample


def ratio(base: Sequence[Sample], other: Sequence[Sample], figure: str) -> Estimate:
    """Return the base's figure ÷ the other's, paired by block."""
    return ratio_of(
        [
            math.log(getattr(a, figure) / getattr(b, figure))
            for a, b in zip(base, other, strict=True)
        ]
    )


def shown(value: Estimate) -> str:
    return f"{value.estimate:.2f} [{value.low:.2f}, {value.high:.2f}]"


def verdict(value: Estimate) -> str:
    if value.low > 1:
        return "pays"
    return "costs" if value.high < 1 else "inconclusive"


def lines(files: Sequence[str]) -> int:
    """Count the lines that are neither empty nor a comment."""
    return sum(
        bool(line.strip()) and not line.strip().startswith("#")
        for name in files
        for file in ([FOLDER / name] if name.endswith(".py") else (FOLDER / name).glob("*.py"))
        for line in file.read_text("utf-8").splitlines()
    )


if __name__ == "__main__":
    sys.exit(main())
