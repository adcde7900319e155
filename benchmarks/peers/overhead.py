"""Compare the overhead of executors for each task: ``python benchmarks/peers/overhead.py``

20,000 trivial tasks run on 2 workers. The pools are todobatch's executors at their default
settings, and those of the standard library, joblib, mpire and deadpool-executor. All get the same
`Task` objects. todobatch also times, counts and digests each batch; the peers only return the
numbers. A peer that is slow by default has a second row with chunks of 100 tasks.

With ``--payload 1000`` (kB a task) the tasks are large, 200 MB in all, on the way to the worker;
with ``--back`` the results are. The table is then in MB/s, and pools that copy nothing are left
out.

Each pool runs once in each round, in random order, in a fresh child process of the chosen
interpreter. The child starts the workers, warms them up with a tenth of the tasks, and times one
pass. The table gives the median time and the ratio to the fastest peer of the same kind, within a
round, with its 95 % interval. A ratio below 1 is faster than that peer.
"""

import argparse
import importlib
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from todobatch import Hooks, batched, run_batches, runtime
from todobatch.child.sample import Warmed
from todobatch.executors import EXECUTORS, get
from todobatch.model import ProcessingResult, Task
from todobatch.processors import TaskBatchProcessor
from todobatch.sources.generator import generate

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD_BYTES = 200_000_000
CHILD_TIMEOUT_S = 120
SIZE = "TODOBATCH_PAYLOAD_BYTES"
"""The environment variable with the size of a result of `large`."""


def trivial(task: Task) -> int:
    return task.priority


def length(task: Task) -> int:
    return len(task.title)


def large(task: Task) -> str:
    return task.title[:1] * int(os.environ[SIZE])


class Trivial(TaskBatchProcessor):
    """Does next to nothing."""

    name = "trivial"

    def process_task(self, task: Task) -> int:
        return trivial(task)


class Length(TaskBatchProcessor):
    """Reads a large task."""

    name = "length"

    def process_task(self, task: Task) -> int:
        return length(task)


class Large(TaskBatchProcessor):
    """Returns a large result."""

    name = "large"

    def process_task(self, task: Task) -> str:
        return large(task)


Work = Callable[[Task], Any]
PROCESSORS: dict[Work, type[TaskBatchProcessor]] = {trivial: Trivial, length: Length, large: Large}


def several(work: Work, tasks: Sequence[Task]) -> list[Any]:
    return [work(task) for task in tasks]


def chunks(tasks: Sequence[Task], size: int) -> list[Sequence[Task]]:
    return [tasks[at : at + size] for at in range(0, len(tasks), size)]


def by_hand(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    """Call any pool's `map` once for each chunk."""
    for results in pool.map(partial(several, work), chunks(tasks, chunk)):
        yield from results


def interpreters_pool(workers: int) -> Any:
    return importlib.import_module("concurrent.futures").InterpreterPoolExecutor(workers)


def loky(workers: int) -> Any:
    return importlib.import_module("joblib").Parallel(workers, backend="loky")


def by_loky(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    del chunk  # joblib chooses the size itself
    delayed = importlib.import_module("joblib").delayed(work)
    results: Iterable[Any] = pool(delayed(task) for task in tasks)
    return results


def mpire(workers: int) -> Any:
    pools = importlib.import_module("mpire")
    return pools.WorkerPool(workers, start_method="forkserver", keep_alive=True)


def by_mpire(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    # A task goes in a tuple, because mpire unpacks its arguments.
    results: Iterable[Any] = pool.imap(work, [(task,) for task in tasks], chunk_size=chunk)
    return results


def deadpool(workers: int) -> Any:
    return importlib.import_module("deadpool").Deadpool(max_workers=workers)


@dataclass(frozen=True)
class Peer:
    """A pool of another project, and how it is used."""

    kind: str
    make: Callable[[int], Any]
    way: Callable[[Any, Work, Sequence[Task], int], Iterable[Any]]
    """Called with the pool, the work, the tasks and the size of a chunk; returns the results."""
    needs: str = ""
    """A module that the pool needs beyond the standard library of Python 3.11."""


def _map(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    del chunk
    results: Iterable[Any] = pool.map(work, tasks)
    return results


def _chunked(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    results: Iterable[Any] = pool.map(work, tasks, chunksize=chunk)
    return results


def _unordered(pool: Any, work: Work, tasks: Sequence[Task], chunk: int) -> Iterable[Any]:
    results: Iterable[Any] = pool.imap_unordered(work, tasks, chunk)
    return results


PEERS = {
    "ThreadPoolExecutor.map": Peer("threads", futures.ThreadPoolExecutor, _map),
    "ThreadPoolExecutor.map, chunked by hand": Peer("threads", futures.ThreadPoolExecutor, by_hand),
    "ProcessPoolExecutor.map, chunked": Peer("processes", futures.ProcessPoolExecutor, _chunked),
    "Pool.imap_unordered, chunked": Peer("processes", multiprocessing.Pool, _unordered),
    "joblib loky": Peer("processes", loky, by_loky, "joblib"),
    "mpire, chunked": Peer("processes", mpire, by_mpire, "mpire"),
    "deadpool, chunked by hand": Peer("processes", deadpool, by_hand, "deadpool"),
    "InterpreterPoolExecutor.map, chunked by hand": Peer(
        "interpreters", interpreters_pool, by_hand, "concurrent.interpreters"
    ),
}
KINDS = {"stealing": "threads", "elastic": "threads"}
"""The kinds of executors of todobatch whose name is not their kind."""
COPYING = ("processes", "interpreters")


@dataclass(frozen=True)
class Load:
    """The tasks to run; each child process makes them anew."""

    count: int
    payload: int = 0
    """The size of a task in bytes; 0 for trivial tasks."""
    back: bool = False

    @property
    def work(self) -> Work:
        return (large if self.back else length) if self.payload else trivial

    @property
    def chunk(self) -> int:
        """Return the number of tasks in a chunk: 100, or as many as make about a megabyte."""
        return min(max(1_000_000 // self.payload, 1), 100) if self.payload else 100

    def tasks(self) -> list[Task]:
        if not self.payload:
            return list(generate(self.count))
        letters = "abcdefgh"
        size = 1 if self.back else self.payload
        return [Task(letters[n % 8] * size) for n in range(self.count)]

    def amount(self, results: Iterable[Any]) -> int:
        """Return a number that depends on every result, to check the results."""
        return sum(len(each) if self.back else each for each in results)

    @property
    def expected(self) -> int:
        if self.payload:
            return self.count * self.payload
        return sum(task.priority for task in self.tasks())


def child(name: str, load: Load, workers: int) -> None:
    """Time one pass, and print the seconds as JSON."""
    os.environ[SIZE] = str(load.payload)
    tasks, few = load.tasks(), max(load.count // 10, 1)
    amount = 0
    if name in EXECUTORS:

        def add(result: ProcessingResult) -> None:
            nonlocal amount
            amount += load.amount(result.rows or ())

        processor = PROCESSORS[load.work]()
        warm = Warmed(get(name), list(batched(tasks[:few])))
        report = run_batches(
            tasks,
            processor,
            executor=warm,
            workers=workers,
            keep_rows=load.back,
            hooks=Hooks(on_result=add),
        )
        took = report.wall_s
        assert report.tasks == load.count
        assert not report.failed
        assert amount == (load.expected if load.back else 0)
    else:
        peer = PEERS[name]
        with peer.make(workers) as pool:
            load.amount(peer.way(pool, load.work, tasks[:few], load.chunk))
            begun = perf_counter()
            amount = load.amount(peer.way(pool, load.work, tasks, load.chunk))
            took = perf_counter() - begun
        assert amount == load.expected
    print(json.dumps(took))


def facts() -> None:
    """Print as JSON which pools this interpreter can run."""
    missing = {
        name: peer.needs
        for name, peer in PEERS.items()
        if peer.needs and not importlib.util.find_spec(peer.needs)
    }
    ours = [name for name, executor in EXECUTORS.items() if executor.available() is None]
    build = "GIL" if runtime.gil_enabled() else "free-threaded"
    print(json.dumps([ours, missing, f"Python {platform.python_version()}, {build}"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every pool in rounds and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--interpreter", default="3.14t")
    parser.add_argument("--payload", type=int, default=0, metavar="KB", help="size of each task")
    parser.add_argument("--back", action="store_true", help="the payload is the result")
    parser.add_argument("--tasks", type=int, help="default: 20,000, or 200 MB in all")
    for option, default in (("rounds", 12), ("workers", 2), ("seed", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args(arguments)
    payload = options.payload * 1000
    count = options.tasks or (PAYLOAD_BYTES // payload if payload else 20_000)
    load = Load(count, payload, options.back)
    ask = _asker(options.interpreter)
    ours, missing, about = ask("facts()")
    ways = [*ours, *(name for name in PEERS if name not in missing)]
    if payload:
        ways = [way for way in ways if _kind(way) in COPYING]
    times: dict[str, list[float]] = {way: [] for way in ways}
    lot = random.Random(options.seed)
    for number in range(options.rounds):
        for way in lot.sample(ways, len(ways)):
            times[way].append(ask(f"child({way!r}, {load!r}, {options.workers})"))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    of = f" of {options.payload:,} kB {'back' if options.back else 'there'}" if payload else ""
    print(f"{about}, {options.workers} workers, {count:,} tasks{of}, {options.rounds} rounds\n")
    _print_table(load, times)
    for name, need in missing.items():
        print(f"\nLeft out: {name}, which needs {need}.")
    return 0


def _asker(spec: str) -> Callable[[str], Any]:
    """Return a function that evaluates a call of this module in a fresh process of `spec`."""
    from todobatch.errors import BuildError
    from todobatch.lab import interpreters
    from todobatch.lab.interpreters.support import PEER_REQUIREMENTS, support_folder

    interpreter = interpreters.find(spec)
    env = interpreters.worker_environment(interpreter)
    paths = [str(ROOT), env["PYTHONPATH"]]
    try:
        paths.append(str(support_folder(interpreter, PEER_REQUIREMENTS)))
    except BuildError as error:  # the peers that need no installation are compared all the same
        print(error, file=sys.stderr)
    env["PYTHONPATH"] = os.pathsep.join(paths)

    def ask(call: str) -> Any:
        code = f"from benchmarks.peers.overhead import *; {call}"
        command = [str(interpreter.executable), "-c", code]
        done = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, timeout=CHILD_TIMEOUT_S, check=True
        )
        return json.loads(done.stdout)

    return ask


def _kind(way: str) -> str:
    return PEERS[way].kind if way in PEERS else KINDS.get(way, way)


def _print_table(load: Load, times: dict[str, list[float]]) -> None:
    """Print a row for each pool, with its ratio to the fastest peer of its kind."""
    from todobatch.lab.stats.estimate import ratio_of

    unit = "MB/s" if load.payload else "us a task"
    print(f"| kind | way | {unit} | ratio to the fastest peer of its kind |\n|---|---|---:|---|")
    for way in sorted(times, key=lambda w: (_kind(w), w in PEERS, median(times[w]))):
        peers = [w for w in times if w in PEERS and _kind(w) == _kind(way)]
        ratio = "-"
        if peers and way not in PEERS:
            fastest = min(peers, key=lambda w: median(times[w]))
            r = ratio_of([math.log(a / b) for a, b in zip(times[way], times[fastest], strict=True)])
            ratio = f"{r.estimate:.2f} ({r.low:.2f} to {r.high:.2f}), to {fastest}"
        took = median(times[way])
        rate = load.count * load.payload / took / 1e6
        shown = f"{rate:.0f}" if load.payload else f"{took / load.count * 1e6:.2f}"
        print(f"| {_kind(way)} | {way} | {shown} | {ratio} |")


if __name__ == "__main__":
    sys.exit(main())
