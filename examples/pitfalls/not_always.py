"""Free threads do not always win: coroutines wait better, and processes share nothing.

Waiting: 400 tasks wait 5 ms each. A thread for each task costs 400 threads, and with few threads
the tasks queue. One thread with an event loop has all of them in flight.

Sharing: tasks do nothing but change one object under its lock. Threads without a GIL pass the
object from CPU to CPU; two processes have a copy each.
"""

import statistics
import sys
from dataclasses import dataclass

from examples.pitfalls.stage import play
from todobatch import batched, run_batches
from todobatch.sources import generate
from todobatch.units import Seconds, show_seconds

WAITS = 400
FEW_THREADS = 8
HOT_TASKS = 12_000
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """The median times of one way to run the tasks."""

    work: str
    way: str
    start_s: Seconds
    wall_s: Seconds
    digest: str


def run(work: str, ways: dict[str, tuple[str, int]], tasks: int, size: int) -> list[Seen]:
    """Run every way once in each round, in batches of `size` tasks."""
    batches = list(batched(generate(tasks), size))
    seen: dict[str, list[Seen]] = {}
    for _ in range(ROUNDS):
        for way, (executor, workers) in ways.items():
            report = run_batches(batches, work, executor=executor, workers=workers)
            seen.setdefault(way, []).append(
                Seen(work, way, report.pool_start_s, report.wall_s, report.digest)
            )
    return [
        Seen(
            work,
            way,
            statistics.median(each.start_s for each in rounds),
            statistics.median(each.wall_s for each in rounds),
            rounds[0].digest,
        )
        for way, rounds in seen.items()
    ]


def see_waits() -> list[Seen]:
    """Compare few threads, a thread for each task, and coroutines, on tasks that wait."""
    ways = {
        f"{FEW_THREADS} threads": ("threads", FEW_THREADS),
        f"{WAITS} threads": ("threads", WAITS),
        f"{WAITS} coroutines, 1 thread": ("coroutines", WAITS),
    }
    return run("io-wait", ways, WAITS, 1)


def see_sharing() -> list[Seen]:
    """Compare one thread, two threads, and two processes, on tasks that share one object."""
    ways = {
        "1 thread": ("sequential", 1),
        "2 threads, one object": ("threads", 2),
        "2 processes, a copy each": ("processes", 2),
    }
    return run("hot-object", ways, HOT_TASKS, 100)


def show() -> int:
    """Print what was measured, and what was fastest."""
    for title, rows in (
        (f"{WAITS} tasks that wait 5 ms each", see_waits()),
        (f"{HOT_TASKS:,} tasks that change one object", see_sharing()),
    ):
        print(f"{title} (median of {ROUNDS}):")
        for row in rows:
            print(f"  {row.way:<28} {show_seconds(row.start_s):>9} to start "
                  f"{show_seconds(row.wall_s):>9} to work")  # fmt: skip
        work = min(rows, key=lambda row: row.wall_s)
        whole = min(rows, key=lambda row: row.start_s + row.wall_s)
        print(f"  fastest to work: {work.way}; with the start: {whole.way}\n")
    return 0


if __name__ == "__main__":
    sys.exit(play("not_always", __doc__, show))
