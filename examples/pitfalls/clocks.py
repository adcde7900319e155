"""Two ways to time the wrong thing: the start of the workers, and a clock that can be set.

A real program starts its pool once. A benchmark that starts one for each measurement times the
start. `time.time` is the time of day, which may be set forwards or back at any moment. Use
`time.perf_counter` for differences.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from examples.pitfalls.stage import play
from todobatch import batched, run_batches
from todobatch.sources import generate
from todobatch.units import Seconds, show_ratio, show_seconds

TASKS = 4_000  # ten times the usual number, so that there is something to speed up
WORKERS = 2
SET_BACK_S: Seconds = 3600.0


@dataclass(frozen=True, slots=True)
class Start:
    """One run of the workload `example8` on two processes."""

    sequential_s: Seconds
    start_s: Seconds
    work_s: Seconds

    @property
    def with_start(self) -> float:
        """The speed-up when the start of the workers is timed as well."""
        return self.sequential_s / (self.start_s + self.work_s)

    @property
    def without(self) -> float:
        """The speed-up of the work alone."""
        return self.sequential_s / self.work_s


def time_start() -> Start:
    """Time tasks of the reference load, sequentially and on two processes."""
    batches = list(batched(generate(TASKS)))
    alone = run_batches(batches, "example8", executor="sequential", workers=1)
    pool = run_batches(batches, "example8", executor="processes", workers=WORKERS)
    return Start(alone.wall_s, pool.pool_start_s, pool.wall_s)


@dataclass(frozen=True, slots=True)
class Clock:
    """What Python says about a clock, and what it measured while the time of day was set back."""

    name: str
    adjustable: bool
    monotonic: bool
    measured_s: Seconds


def time_with(
    name: Literal["time", "perf_counter"], clock: Callable[[], Seconds], set_back: Seconds
) -> Clock:
    """Measure some work while the time of day is set back (simulated) by `set_back` seconds."""
    info = time.get_clock_info(name)
    begun = clock()
    sum(n * n for n in range(100_000))
    measured = clock() - begun
    # Only a clock that may be set is. We do not set this machine's: we say what it would have read.
    return Clock(name, info.adjustable, info.monotonic,
                 measured - set_back if info.adjustable else measured)  # fmt: skip


def see() -> tuple[Start, Clock, Clock]:
    """Measure the start of a pool, then both clocks."""
    return (
        time_start(),
        time_with("time", time.time, SET_BACK_S),
        time_with("perf_counter", time.perf_counter, SET_BACK_S),
    )


def show() -> int:
    """Print what was measured."""
    start, *clocks = see()
    print(f"{TASKS:,} tasks of the reference load on {WORKERS} processes:")
    print(f"  {show_seconds(start.start_s)} to start them, {show_seconds(start.work_s)} to work; "
          f"{show_seconds(start.sequential_s)} sequentially")  # fmt: skip
    print(f"  speed-up with the start in it {show_ratio(start.with_start)}, "
          f"of the work {show_ratio(start.without)}\n")  # fmt: skip
    print("Work that is timed while somebody sets the clock back by an hour (made up):")
    for clock in clocks:
        kind = "may be set" if clock.adjustable else "never goes back"
        print(f"  time.{clock.name + '()':<15} {kind:<16} {clock.measured_s:>14.6f} s")
    print("\nStart the workers before the clock, and take time.perf_counter.")
    return 0


if __name__ == "__main__":
    sys.exit(play("clocks", __doc__, show))
