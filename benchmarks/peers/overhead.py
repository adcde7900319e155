"""What handing a task over costs: ``python benchmarks/peers/overhead.py --interpreter 3.14t``

20,000 trivial tasks (each gives its priority) on 2 workers: todobatch's executors at their default
settings, beside the pools of the standard library, and joblib and mpire where the interpreter has
them. All get the same `Task` objects. Ours also time, count and digest each batch; the peers return
the numbers and no more. Peers that are slow without chunks get chunks of 100 tasks.

Each way runs once a round, in an order drawn by lot, in a fresh child process of the chosen
interpreter, which brings its workers up, warms them with 2,000 tasks, and times one pass. Compared
are ratios within a round (`todobatch.lab.estimate`): the table gives the median time and the ratio
to the fastest peer of the same kind with its 95 % interval; below 1 is faster than that peer.
"""

import argparse
import importlib
import importlib.util
import json
import math
import multiprocessing
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from todobatch import runtime
from todobatch.coordinator import batched, run_batches
from todobatch.executors import EXECUTORS, get
from todobatch.lab.sample_process import Warmed
from todobatch.model import Task
from todobatch.processors import TaskBatchProcessor
from todobatch.sources.generator import generate

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 100
WARM_TASKS = 2_000
CHILD_TIMEOUT_S = 120


class Trivial(TaskBatchProcessor):
    """Does next to nothing."""

    name = "trivial"

    def process_task(self, task: Task) -> int:
        return task.priority


def trivial(task: Task) -> int:
    return task.priority


def trivial_chunk(tasks: Sequence[Task]) -> int:
    return sum([trivial(task) for task in tasks])


def chunks(tasks: Sequence[Task]) -> list[Sequence[Task]]:
    return [tasks[at : at + CHUNK] for at in range(0, len(tasks), CHUNK)]


def interpreters_pool(workers: int) -> Any:
    return importlib.import_module("concurrent.futures").InterpreterPoolExecutor(workers)


def loky(workers: int) -> Any:
    return importlib.import_module("joblib").Parallel(workers, backend="loky")


def by_loky(pool: Any, tasks: Sequence[Task]) -> Iterable[int]:
    delayed = importlib.import_module("joblib").delayed(trivial)
    results: Iterable[int] = pool(delayed(task) for task in tasks)
    return results


def mpire(workers: int) -> Any:
    pools = importlib.import_module("mpire")
    return pools.WorkerPool(workers, start_method="forkserver", keep_alive=True)


# Peer -> kind, what makes it, how it works through tasks, what it needs beyond Python 3.11.
PEERS: dict[str, tuple[str, Callable[[int], Any], Callable[[Any, Sequence[Task]], Any], str]] = {
    "ThreadPoolExecutor.map": (
        *("threads", futures.ThreadPoolExecutor),
        *(lambda pool, tasks: pool.map(trivial, tasks), ""),
    ),
    "ThreadPoolExecutor.map, chunked by hand": (
        *("threads", futures.ThreadPoolExecutor),
        *(lambda pool, tasks: pool.map(trivial_chunk, chunks(tasks)), ""),
    ),
    "ProcessPoolExecutor.map, chunk 100": (
        *("processes", futures.ProcessPoolExecutor),
        *(lambda pool, tasks: pool.map(trivial, tasks, chunksize=CHUNK), ""),
    ),
    "Pool.imap_unordered, chunk 100": (
        *("processes", multiprocessing.Pool),
        *(lambda pool, tasks: pool.imap_unordered(trivial, tasks, CHUNK), ""),
    ),
    "joblib loky": ("processes", loky, by_loky, "joblib"),
    "mpire, chunk 100": (  # a task goes in a tuple, or it would be taken for arguments
        *("processes", mpire),
        *(lambda pool, tasks: pool.map(trivial, [(t,) for t in tasks], chunk_size=CHUNK), "mpire"),
    ),
    "InterpreterPoolExecutor.map, chunked by hand": (
        *("interpreters", interpreters_pool),
        *(lambda pool, tasks: pool.map(trivial_chunk, chunks(tasks)), "concurrent.interpreters"),
    ),
}
KINDS = {"stealing": "threads"}  # of our executors, where the name is not the kind


def child(name: str, count: int, workers: int) -> None:
    """Time one pass, and print the seconds as JSON."""
    tasks = list(generate(count))
    if name in EXECUTORS:
        warm = Warmed(get(name), list(batched(tasks[:WARM_TASKS])))
        report = run_batches(tasks, Trivial(), executor=warm, workers=workers)
        assert report.tasks == count
        assert not report.failed
        print(json.dumps(report.wall_s))
        return
    _, make, way, _ = PEERS[name]
    with make(workers) as pool:
        sum(way(pool, tasks[:WARM_TASKS]))
        begun = perf_counter()
        total = sum(way(pool, tasks))
        print(json.dumps(perf_counter() - begun))
    assert total == sum(task.priority for task in tasks)


def facts() -> None:
    """What can run in this interpreter, as JSON."""
    peers = {name: need for name, (*_, need) in PEERS.items()}
    missing = {n: need for n, need in peers.items() if need and not importlib.util.find_spec(need)}
    ours = [name for name, executor in EXECUTORS.items() if executor.available() is None]
    build = "GIL" if runtime.gil_enabled() else "free-threaded"
    print(json.dumps([ours, missing, f"Python {platform.python_version()}, {build}"]))


def main(arguments: Sequence[str] | None = None) -> int:
    from todobatch.lab import interpreters
    from todobatch.lab.estimate import ratio_of

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--interpreter", default="3.14t")
    for option, default in (("rounds", 12), ("tasks", 20_000), ("workers", 2), ("seed", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    told = parser.parse_args(arguments)
    interpreter = interpreters.find(told.interpreter)
    env = interpreters.worker_environment(interpreter)
    env["PYTHONPATH"] = f"{ROOT}:{env['PYTHONPATH']}"

    def ask(call: str) -> Any:
        code = f"from benchmarks.peers.overhead import *; {call}"
        command = [str(interpreter.executable), "-c", code]
        done = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, timeout=CHILD_TIMEOUT_S, check=True
        )
        return json.loads(done.stdout)

    ours, missing, about = ask("facts()")
    ways = [*ours, *(name for name in PEERS if name not in missing)]
    times: dict[str, list[float]] = {way: [] for way in ways}
    lot = random.Random(told.seed)
    for _ in range(told.rounds):
        for way in lot.sample(ways, len(ways)):
            times[way].append(ask(f"child({way!r}, {told.tasks}, {told.workers})"))
    print(f"{about}, {told.workers} workers, {told.tasks:,} tasks, {told.rounds} rounds\n")
    print("| kind | way | us a task | ratio to the fastest peer of its kind |\n|---|---|---|---|")
    kind_of = {w: PEERS[w][0] if w in PEERS else KINDS.get(w, w) for w in ways}
    for way in sorted(ways, key=lambda w: (kind_of[w], w in PEERS, median(times[w]))):
        peers = [w for w in ways if w in PEERS and kind_of[w] == kind_of[way]]
        ratio = "-"
        if peers and way not in PEERS:
            fastest = min(peers, key=lambda w: median(times[w]))
            r = ratio_of([math.log(a / b) for a, b in zip(times[way], times[fastest], strict=True)])
            ratio = f"{r.estimate:.2f} ({r.low:.2f} to {r.high:.2f}), to {fastest}"
        print(f"| {kind_of[way]} | {way} | {median(times[way]) / told.tasks * 1e6:.2f} | {ratio} |")
    for name, need in missing.items():
        print(f"\nLeft out: {name}, which needs {need}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
