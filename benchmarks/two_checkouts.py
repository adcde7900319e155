"""Compare the executors of two checkouts: ``python benchmarks/two_checkouts.py BEFORE AFTER``

BEFORE and AFTER are folders with a checkout of todobatch each. In every round each checkout runs
each executor on each load in a fresh process, in random order. A process's time is the median of
three passes. The table gives the time of AFTER ÷ the time of BEFORE within a round with its 95 %
interval, and the same for peak memory. A ratio above 1 means that AFTER is slower or larger.

A row is marked as slower when its interval lies above 1. The confidence is such that the whole
table has a false alarm in at most 5 % of cases (Bonferroni). The exit code is 1 if a row is marked.

There are three loads: 100,000 tasks that do nothing, which shows the overhead; tasks of ten
microseconds; and tasks of 300 microseconds (the workload `example8`). All use two workers.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, find_all
from todobatch.lab.stats.estimate import ratio_of

EXECUTORS = ("sequential", "threads", "processes", "interpreters")
LOADS = {
    "builtins:callable": 100_000,
    "benchmarks.peers.known:ten_microseconds": 20_000,
    "example8": 1_600,
}
"""Workload, which both checkouts must know -> number of tasks."""
TIMEOUT_S = 120.0

# This runs in both checkouts, so it uses only what both have.
CHILD = """
import json, re, resource, sys
from statistics import median
from pathlib import Path
from todobatch import run_batches
from todobatch.sources.generator import generate

executor, workload, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3])
if __name__ == "__main__":
    work = list(generate(tasks, seed=1))
    run_batches(work[: tasks // 10], workload, executor=executor, workers=2)
    reports = [run_batches(work, workload, executor=executor, workers=2) for _ in range(3)]
    assert not any(report.failed for report in reports), reports
    own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps({"time": median(report.wall_s for report in reports),
                      "memory": own + children, "digest": reports[0].digest}))
"""


def run_once(
    checkout: Path, executable: Path, executor: str, workload: str, tasks: int
) -> dict[str, float]:
    """Run one load in one checkout; return seconds, KiB of peak memory, and the digest."""
    command = [str(executable), "-c", CHILD, executor, workload, str(tasks)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S
    )
    if done.returncode != 0:
        raise SystemExit(f"{executor} on {workload} failed in {checkout}:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def main() -> int:
    """Measure every row in rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("before", type=Path, help="folder of the checkout to compare with")
    parser.add_argument("after", type=Path, help="folder of the checkout with the change")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    checkouts = {"before": options.before.resolve(), "after": options.after.resolve()}
    interpreters = find_all(DEFAULT_INTERPRETERS)
    lot = random.Random(options.seed)
    print("| executor | interpreter | load | time, after ÷ before | memory, after ÷ before | |")
    print("|---|---|---|---:|---:|---|", flush=True)
    rows = len(interpreters) * len(EXECUTORS) * len(LOADS)
    slower = 0
    for interpreter in interpreters:
        for executor in EXECUTORS:
            for workload, tasks in LOADS.items():
                logs: dict[str, list[float]] = {"time": [], "memory": []}
                for _ in range(options.rounds):
                    seen = {
                        name: run_once(
                            checkouts[name], interpreter.executable, executor, workload, tasks
                        )
                        for name in lot.sample(list(checkouts), 2)
                    }
                    if seen["before"]["digest"] != seen["after"]["digest"]:
                        raise SystemExit(f"{executor} on {workload}: the digests differ")
                    for what, values in logs.items():
                        values.append(math.log(seen["after"][what] / seen["before"][what]))
                time, memory = ratio_of(logs["time"]), ratio_of(logs["memory"])
                is_slower = ratio_of(logs["time"], 1 - 0.05 / rows).low > 1
                slower += is_slower
                print(
                    f"| {executor} | {interpreter.spec} | {workload.rpartition(':')[2]} | "
                    f"{time.estimate:.3f} [{time.low:.3f}, {time.high:.3f}] | "
                    f"{memory.estimate:.3f} [{memory.low:.3f}, {memory.high:.3f}] | "
                    f"{'slower' if is_slower else ''} |",
                    flush=True,
                )
    return int(slower > 0)


if __name__ == "__main__":
    sys.exit(main())
