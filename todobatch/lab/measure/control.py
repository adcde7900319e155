"""The control load: a fixed computation whose time shows how fast the machine is at the moment.

The controller runs it at the start and the end of each block, when nothing else of todobatch runs.
`compare` uses it to correct for the speed of the machine when two runs were measured at different
times.
"""

import datetime as dt
import time
from typing import Literal

from todobatch.lab.store.schema import SCHEMA, Control

LOOPS = 1_000_000
"""The loops of the control load, about 0.05 to 0.1 s. A change needs a new schema version."""


def measure(block: int, when: Literal["start", "end"]) -> Control:
    """Run the control load once and return its wall and CPU time."""
    started = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
    cpu, wall = time.thread_time(), time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number * number
    wall_s, cpu_s = time.perf_counter() - wall, time.thread_time() - cpu
    assert total == (LOOPS - 1) * LOOPS * (2 * LOOPS - 1) // 6
    return Control(SCHEMA, block, when, round(wall_s, 7), round(cpu_s, 7), started)
