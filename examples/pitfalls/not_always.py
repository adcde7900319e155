"""Free-threading does not always win: coroutines wait better, and copies need not meet.

Waiting: 400 tasks that wait 5 ms each. A thread each costs as many threads; with few threads they
queue up; one thread with an event loop has them all under way.

Sharing: tasks that do nothing but change one object under its lock. Threads without a GIL pass it
from CPU to CPU; two processes have a copy each and never meet.
"""

import statistics
import sys
from dataclasses import dataclass

from examples.pitfalls.stage import play
from todobatch.coordinator import batched, run_batches
from todobatch.sources import generate
from todobatch.units import Seconds, show_seconds

WAITS = 400
FEW_THREADS = 8
HOT_TASKS = 12_000
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """A way to run it: medians of some rounds."""

    work: str
    way: str
    start_s: Seconds
    wall_s: Seconds
    digest: str


def run(work: str, ways: dict[str, tuple[str, int]], tasks: int, size: int) -> list[Seen]:
    """Every way once a round, so that all meet the same machine; tasks in batches of `size`."""
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
    """Few threads, a thread a wait, and coroutines, over tasks that wait."""
    ways = {
        f"{FEW_THREADS} threads": ("threads", FEW_THREADS),
        f"{WAITS} threads": ("threads", WAITS),
        f"{WAITS} coroutines, 1 thread": ("coroutines", WAITS),
    }
    return run("io-wait", ways, WAITS, 1)


def see_sharing() -> list[Seen]:
    """One thread, two, and two processes, over tasks that meet on one object."""
    ways = {
        "1 thread": ("sequential", 1),
        "2 threads, one object": ("threads", 2),
        "2 processes, a copy each": ("processes", 2),
    }
    return run("hot-object", ways, HOT_TASKS, 100)


def show() -> int:
    """Print what was seen, and who was fastest."""
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
