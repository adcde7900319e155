"""Measure the cost of a journal in time and memory: ``python benchmarks/peers/journal.py``

Time: jobs with `--output`, whose tasks compute for about 100 us each, run alternately with and
without a journal, in random order within a pair. The script prints the ratio with its 95 % interval
(the limit is 1.05) and the share of the time that the run spent on saving.

Memory: one job of 5,000,000 generated tasks runs with a journal and an output. The script prints
the memory of the working process at each tenth of the run. From the first tenth to the last it may
grow by 10 %, and it may never exceed 250 MB. The exit code is 1 when a limit is exceeded.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from todobatch import Task

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sysconfig.get_path("scripts")) / "todobatch"
MOST_COST = 1.05
MOST_GROWTH = 1.10
MOST_BYTES = 250_000_000
MOST_S = 3_000.0
EVERY_S = 0.1


def hundred(task: Task) -> int:
    """Compute for about 100 us; this is the workload."""
    total = task.priority
    for n in range(3_300):
        total += n * n
    return total


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--pairs", type=int, default=8)
    options.add_argument("--tasks", type=int, default=100_000, help="tasks of each timed job")
    options.add_argument(
        "--stream", type=int, default=5_000_000, help="tasks of the memory test; 0 skips it"
    )
    options.add_argument("--executor", default="threads")
    options.add_argument("--interpreter")
    args = options.parse_args()
    job = [str(COMMAND), "run", "--executor", args.executor, "--json", "--no-baseline"]
    if args.interpreter:
        job += ["--interpreter", args.interpreter]
    kept = True
    if args.pairs:
        kept = cost(job, args.tasks, args.pairs)
    if args.stream:
        kept = memory(job, args.stream) and kept
    return 0 if kept else 1


def cost(job: list[str], tasks: int, pairs: int) -> bool:
    from todobatch.lab.stats.estimate import ratio_of

    job = [*job, "--generate", str(tasks), "-w", "benchmarks.peers.journal:hundred"]
    dice, logs, shares, per_task = random.Random(0), [], [], []
    for _ in range(pairs):
        walls = {}
        for journaled in dice.sample([False, True], 2):
            with tempfile.TemporaryDirectory(prefix="todobatch-cost-") as folder:
                extra = ["--output", f"{folder}/out.jsonl"]
                extra += ["--journal", f"{folder}/j.db"] if journaled else []
                done = run([*job, *extra])
            walls[journaled] = done["wall_s"]
            if journaled:
                shares.append(done["journal_s"] / done["wall_s"])
            else:
                per_task.append(done["wall_s"] / tasks * min(done["workers"], done["cpus"]))
        logs.append(math.log(walls[True] / walls[False]))
    ratio = ratio_of(logs)
    print(f"{pairs} pairs of {tasks} tasks, {sum(per_task) / pairs * 1e6:.0f} us each and worker")
    print(
        f"time with a journal ÷ without: {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
    )
    print(f"share of its time spent saving: {sum(shares) / pairs:.1%}, at most {max(shares):.1%}")
    return not ratio.low > MOST_COST


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=MOST_S
    )
    if done.returncode:
        sys.exit(f"the job failed with {done.returncode}:\n{done.stderr[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def memory(job: list[str], tasks: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="todobatch-memory-") as folder:
        out = Path(folder) / "out.jsonl"
        command = [
            *job, "--generate", str(tasks), "-w", "validate",
            "--output", str(out), "--journal", f"{folder}/j.db",
        ]  # fmt: skip
        seen: list[tuple[int, int]] = []  # bytes of output by then, bytes of memory
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None:
                time.sleep(EVERY_S)
                if (held := held_by_child(process.pid)) and (part := size(out, ".part")):
                    seen.append((part, held))
            assert process.stdout is not None
            document = json.loads(process.stdout.read())
        total = size(out)
        rows = out.read_bytes().count(b"\n")
    at = [max((h for b, h in seen if b <= total * n / 10), default=0) for n in range(1, 11)]
    print(f"{document['tasks']} tasks in {document['wall_s']:.0f} s, {rows} rows of output")
    print("memory at each tenth, MB: " + " ".join(f"{each / 1e6:.1f}" for each in at))
    first = next((each for each in at if each), 0)
    if not first or not rows == document["tasks"] == tasks:
        return False
    print(f"last ÷ first tenth: {at[-1] / first:.3f}")
    return at[-1] <= MOST_GROWTH * first and at[-1] <= MOST_BYTES


def held_by_child(pid: int) -> int:
    """Return the bytes that the working process holds now; 0 before it exists."""
    import psutil

    try:
        return sum(child.memory_info().rss for child in psutil.Process(pid).children())
    except psutil.NoSuchProcess:
        return 0


def size(path: Path, more: str = "") -> int:
    whole = path.with_name(path.name + more)
    return whole.stat().st_size if whole.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
