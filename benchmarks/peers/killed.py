"""Check that SIGKILL neither loses nor duplicates tasks: ``python benchmarks/peers/killed.py``

A job of 200,000 tasks with a journal is killed at 20 random moments, and the same command is run
again each time. The kill hits the command, the working process, or both. The last run may finish.
The script prints the moment of each kill, how much was saved by then, and how many times each task
is in the output. The exit code is 1 when a task is missing or duplicated. It is also 1 when digest,
aggregate or counts differ from those of a run without kills.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

COMMAND = Path(sysconfig.get_path("scripts")) / "todobatch"
SAME = ("digest", "result", "tasks", "failed", "batches", "failed_batches")
TARGETS = ("the command", "the working process", "both")
MOST_S = 600.0


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--tasks", type=int, default=200_000)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    options.add_argument("--workload", default="pipeline")
    options.add_argument("--executor", default="threads")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--interpreter")
    args = options.parse_args()
    job = [
        str(COMMAND), "run", "--generate", str(args.tasks), "--workload", args.workload,
        "--executor", args.executor, "--workers", str(args.workers), "--json", "--no-baseline",
        *(["--interpreter", args.interpreter] if args.interpreter else []),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="todobatch-killed-") as folder:
        return show(job, args.tasks, args.kills, random.Random(args.seed), Path(folder))


def show(job: list[str], tasks: int, kills: int, dice: random.Random, folder: Path) -> int:
    begun = time.perf_counter()
    whole = finish([*job, "--output", "whole.jsonl"], folder)
    took = time.perf_counter() - begun
    print(f"run without kills: {tasks} tasks in {took:.1f} s, digest {whole['digest'][:16]}…")
    command = [*job, "--journal", "j.db", "--output", "out.jsonl"]
    spare = max(took - whole["wall_s"], 0.0)  # the time to start and to end
    for kill in range(kills):
        # Short enough that all runs together usually do not finish the job.
        moment = dice.uniform(0.0, spare + 2.0 * whole["wall_s"] / kills)
        if not killed(command, folder, moment, TARGETS[kill % len(TARGETS)]):
            print(f"kill {kill + 1:2}: the job had ended before")
            continue
        print(
            f"kill {kill + 1:2}: after {moment:5.2f} s, {TARGETS[kill % len(TARGETS)]:22}; "
            f"{lines(folder / 'out.jsonl.part'):7} rows in the file"
        )
    last = finish(command, folder)
    print(f"then run to its end: {last['resumed_tasks']} of {last['tasks']} tasks were done before")
    times = Counter(
        json.loads(line)["task"] for line in (folder / "out.jsonl").open(encoding="utf-8")
    )
    missing = tasks - len(times)
    duplicated = sum(count > 1 for count in times.values())
    differing = [name for name in SAME if last[name] != whole[name]]
    strange = set(times) != set(range(tasks))
    same_rows = sorted(rows(folder / "out.jsonl")) == sorted(rows(folder / "whole.jsonl"))
    print(f"tasks in the output: {len(times)}, missing: {missing}, duplicated: {duplicated}")
    print(
        f"digest {last['digest'][:16]}…, differences from the run without kills: "
        f"{differing or 'none'}"
    )
    print(f"rows are the same as in the run without kills: {same_rows}")
    return 1 if missing or duplicated or differing or strange or not same_rows else 0


def killed(command: list[str], folder: Path, moment: float, target: str) -> bool:
    """Run the command and kill it at the given moment; return False when it ended before."""
    with (folder / "killed.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        pids = [process.pid] if target != TARGETS[1] else []
        if target != TARGETS[0]:
            pids += [child.pid for child in psutil.Process(process.pid).children()]
        for pid in pids:  # empty if the working process had not started
            os.kill(pid, signal.SIGKILL)
        if not pids:
            process.kill()
        process.wait(MOST_S)
        return True
    if process.returncode:
        sys.exit(f"the job failed:\n{(folder / 'killed.log').read_text('utf-8')[-2000:]}")
    return False


def finish(command: list[str], folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=MOST_S
    )
    if done.returncode:
        sys.exit(f"the job failed with {done.returncode}:\n{done.stderr[-2000:]}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def rows(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(main())
