"""The control load: always the same computing, which tells how fast the machine is just now.

It is taken by the controller at the start and the end of each block, when nothing else of ours
runs. `compare` sets two runs right by it that were taken at different times.
"""

import datetime as dt
import time
from typing import Literal

from todobatch.lab.store.schema import SCHEMA, Control

LOOPS = 1_000_000
"""About a twentieth to a tenth of a second. A change makes runs incomparable: raise the schema."""


def take(block: int, when: Literal["start", "end"]) -> Control:
    """Run it once."""
    started = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
    cpu, wall = time.thread_time(), time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number * number
    wall_s, cpu_s = time.perf_counter() - wall, time.thread_time() - cpu
    assert total == (LOOPS - 1) * LOOPS * (2 * LOOPS - 1) // 6
    return Control(SCHEMA, block, when, round(wall_s, 7), round(cpu_s, 7), started)
