"""Compare the three result collectors under contention: ``python benchmarks/shared_state.py``

Several threads add results to one collector as fast as they can, and one call reads them at the
end. Nothing but the shared state is timed. This is the worst case: in a real job a worker adds one
result for each batch.

Each round is a fresh process of one interpreter. In it each collector is timed once, in random
order, after a warm-up. Rounds of the interpreters alternate. Threads are spread over the CPUs where
the system allows it, because a kernel that packs short threads onto one CPU would hide the
contention. The table gives ratios to the list with a lock, within a round, with 95 % intervals (see
docs/explanation/statistics.md). A lost or duplicated result ends the script with an error.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from todobatch import runtime
from todobatch.collectors import (
    PerWorkerResultCollector,
    QueueResultCollector,
    ResultCollector,
    ThreadSafeResultCollector,
)
from todobatch.model import ProcessingResult

HELD = "a list a thread, held by it"
KINDS: dict[str, type[ResultCollector]] = {
    "list with a lock": ThreadSafeResultCollector,
    "queue.Queue": QueueResultCollector,
    "a list a thread": PerWorkerResultCollector,
    HELD: PerWorkerResultCollector,
}
REFERENCE = "list with a lock"
ROUND_TIMEOUT_S = 120.0
DIFFERENT = 500  # results of a thread; it adds them repeatedly, because only adding is timed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--interpreters", default="3.14,3.14t", help="comma-separated")
    parser.add_argument("--threads", default="1,2,8", help="comma-separated")
    parser.add_argument(
        "--adds", type=int, default=400_000, help="results to add, shared by the threads"
    )
    parser.add_argument("--rounds", type=int, default=12, help="rounds, each with fresh processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--one-round", metavar="THREADS", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_round:
        print(json.dumps(one_round(options.one_round, options.adds, options.seed)))
        return 0
    specs = options.interpreters.split(",")
    rows = measure(specs, [int(n) for n in options.threads.split(",")], options.rounds,
                   options.adds, options.seed)  # fmt: skip
    if options.json:
        print(json.dumps({"rows": rows, "rounds": options.rounds, "adds": options.adds}))
    else:
        show(rows, options.rounds, options.adds)
    return 0


def measure(
    specs: Sequence[str], threads: Sequence[int], rounds: int, adds: int, seed: int
) -> list[dict[str, Any]]:
    """Return a row for each interpreter, number of threads and collector."""
    from todobatch.lab.interpreters import find, worker_environment
    from todobatch.lab.stats.estimate import ratio_of

    pythons = {spec: find(spec) for spec in specs}
    lot = random.Random(seed)
    seen: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for number in range(rounds):
        cells = [(spec, n) for spec in specs for n in threads]
        lot.shuffle(cells)
        for spec, n in cells:
            done = subprocess.run(
                [str(pythons[spec].executable), str(Path(__file__).resolve()),
                 "--one-round", str(n), "--adds", str(adds), "--seed", str(number)],
                check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                timeout=ROUND_TIMEOUT_S, env=worker_environment(pythons[spec]),
            )  # fmt: skip
            seen.setdefault((spec, n), []).append(json.loads(done.stdout))
    rows = []
    for spec in specs:
        for n in threads:
            for kind in KINDS:
                turns = seen[spec, n]
                walls = [turn["wall_s"][kind] for turn in turns]
                logs = [
                    math.log(turn["wall_s"][REFERENCE] / turn["wall_s"][kind]) for turn in turns
                ]
                ratio = ratio_of(logs)
                rows.append({
                    "interpreter": spec, "gil": turns[0]["gil"], "threads": n, "collector": kind,
                    "ns_an_add": statistics.median(walls) / adds * 1e9,
                    "ratio": None if kind == REFERENCE else [ratio.estimate, ratio.low, ratio.high],
                    "cpus": max(turn["cpus"] for turn in turns),
                })  # fmt: skip
    return rows


def show(rows: Sequence[dict[str, Any]], rounds: int, adds: int) -> None:
    """Print the rows as a table."""
    print(f"{adds:,} adds a turn, {rounds} rounds, {os.cpu_count()} CPUs; medians; ratios with "
          "their 95 % interval, above 1 is faster than the list with a lock\n")  # fmt: skip
    print("| interpreter | GIL | threads | collector | ns an add | ratio |")
    print("|---|---|---:|---|---:|---|")
    for row in rows:
        ratio = row["ratio"]
        shown = "1" if ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)
        gil = "on" if row["gil"] else "off"
        print(f"| {row['interpreter']} | {gil} | {row['threads']} | {row['collector']} | "
              f"{row['ns_an_add']:.0f} | {shown} |")  # fmt: skip


def one_round(threads: int, adds: int, seed: int) -> dict[str, Any]:
    """Return each collector's wall seconds in this process, measured in random order."""
    order = list(KINDS)
    random.Random(seed).shuffle(order)
    for kind in order:
        turn(kind, threads, adds // 10)  # lets the interpreter specialise its code
    cpus: set[int] = set()
    walls = {kind: turn(kind, threads, adds, cpus) for kind in order}
    return {"wall_s": walls, "gil": runtime.gil_enabled(), "cpus": len(cpus)}


def turn(kind: str, threads: int, adds: int, cpus: set[int] | None = None) -> float:
    """Return the wall seconds of all adds and of reading the results.

    Raises RuntimeError when a result is lost or duplicated.
    """
    collector = KINDS[kind]()
    times = max(1, adds // threads // DIFFERENT)
    together = threading.Barrier(threads)
    places = spread_cpus()
    # Each thread writes to its own index.
    began, ended = [0.0] * threads, [0.0] * threads
    used: list[int | None] = [None] * threads

    def work(n: int) -> None:
        if places:
            os.sched_setaffinity(0, {places[n % len(places)]})
        # The thread makes its results itself, as a worker does.
        first = n * DIFFERENT
        mine = [ProcessingResult("p", 1, 0.0, True, batch=first + k) for k in range(DIFFERENT)]
        add = adder(collector, kind)
        together.wait()
        began[n] = perf_counter()
        for _ in range(times):
            for result in mine:
                add(result)
        ended[n] = perf_counter()
        used[n] = runtime.current_cpu()

    workers = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    asked = perf_counter()
    collected = collector.get_all_results()
    wall = max(ended) - min(began) + perf_counter() - asked
    seen = Counter(result.batch for result in collected)
    if len(seen) != threads * DIFFERENT or set(seen.values()) != {times}:
        raise RuntimeError(
            f"{kind}: of {threads * DIFFERENT} results, each added {times} "
            f"times, {sum(count != times for count in seen.values())} are lost or duplicated"
        )
    if cpus is not None:
        cpus.update(cpu for cpu in used if cpu is not None)
    return wall


def adder(collector: ResultCollector, kind: str) -> Callable[[ProcessingResult], None]:
    """Return the function with which the calling thread adds results."""
    if kind == HELD:
        assert isinstance(collector, PerWorkerResultCollector)
        return collector.container().append
    return collector.add_result


def spread_cpus() -> list[int]:
    """Return the CPUs to spread threads over; empty where threads cannot be pinned."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


if __name__ == "__main__":
    sys.exit(main())
