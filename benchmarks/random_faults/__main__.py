"""Damage jobs at random moments: ``python -m benchmarks.random_faults --cases 1000``

Each case is a small job with a journal and an output, on `processes` or `threads`, of 3.14 or
3.14t. At a random moment one thing happens to it: SIGKILL or SIGSTOP of one of its processes, a
task that closes random descriptors, or a full disk. Then the same command is run again until it
succeeds. These are violations:

* an exit code that is not documented, or a second run that fails;
* a failed run, if todobatch promises to survive the fault;
* a task that is missing or twice in the output, or a digest that differs from an undisturbed run;
* a run that takes longer than 90 s;
* a process, temporary folder or entry of /dev/shm that is left.

The number of a case is its seed. The script prints a table, and its exit code is 1 after a
violation. It needs Linux. Without the right to mount file systems, a limit on the size of files
takes the place of full disks, and /dev/shm is not looked at.
"""

import argparse
import importlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.random_faults.case import (
    CODES,
    EXECUTORS,
    MOST_RUNS,
    Bench,
    Case,
    check_folders,
    check_left,
    finish,
    outcome,
)
from benchmarks.random_faults.faults import FAULTS
from benchmarks.random_faults.system import become_subreaper, mount_own
from todobatch import errors
from todobatch.lab import interpreters

PROGRESS_EVERY_S = 30.0
PRELOADED = ("todobatch.cli.app", "todobatch.cli.views.run", "todobatch.job.client")
"""What the command imports. Each command is a fork of this process, so it is imported once."""
CLOSED_IN_THREADS = ("close descriptors", "threads")
"""Tasks share the process of the job, so it may fail when one closes descriptors."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print the table, and return the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--first", type=int, default=0, help="number of the first case")
    options.add_argument("--interpreters", default="3.14,3.14t")
    args = options.parse_args(arguments)
    specs = args.interpreters.split(",")
    with tempfile.TemporaryDirectory(prefix="random-faults-", dir="/tmp") as made:
        for name in PRELOADED:
            importlib.import_module(name)
        become_subreaper()
        folder = Path(made)
        (folder / "disk").mkdir()
        private = mount_own(folder / "disk")
        known = {spec: interpreters.find(spec) for spec in specs}
        interpreters.find = known.__getitem__  # type: ignore[assignment]  # looked for once
        bench = Bench(folder, private, specs)
        try:
            learn(bench)
            return show(bench, range(args.first, args.first + args.cases))
        finally:
            if private:
                subprocess.run(["umount", str(bench.disk)], check=False)


def learn(bench: Bench) -> None:
    """Run each combination undisturbed, to know its time and its result."""
    for number, (executor, spec) in enumerate(combinations(bench)):
        case = Case(bench, -1 - number, executor, spec)
        began = time.monotonic()
        code = finish(case, case.start())
        bench.whole_s[executor, spec] = time.monotonic() - began
        found = outcome(case)
        bench.expected = bench.expected or found
        check_left(case)
        if code or found != bench.expected or case.violations:
            sys.exit(
                f"random_faults: an undisturbed run ended with {code}: {case.violations}\n"
                f"{case.log.read_text(errors='replace')}"
            )
        shutil.rmtree(case.folder)


def combinations(bench: Bench) -> list[tuple[str, str]]:
    """Return the pairs of executor and interpreter."""
    return [(executor, spec) for spec in bench.specs for executor in EXECUTORS]


def chosen(bench: Bench, number: int) -> Case:
    """Return a case: executors and interpreters alternate, and the faults come in random order."""
    pairs = combinations(bench)
    executor, spec = pairs[number % len(pairs)]
    faults = [name for name, fault in FAULTS.items() if executor in fault.executors]
    cycle, place = divmod(number // len(EXECUTORS), len(faults))
    fault = random.Random(f"{executor} {cycle}").sample(faults, len(faults))[place]
    return Case(bench, number, executor, spec, fault)


def show(bench: Bench, numbers: range) -> int:
    """Run the cases, print the table, and return the exit code. Ctrl-C ends the cases."""
    table: dict[tuple[str, str], Line] = defaultdict(Line)
    whole = Line()
    began = reported = time.monotonic()
    with suppress(KeyboardInterrupt):
        for number in numbers:
            case = chosen(bench, number)
            try_case(case)
            table[case.fault, case.executor].add(case)
            whole.add(case)
            if time.monotonic() - reported > PROGRESS_EVERY_S:
                reported = time.monotonic()
                done = f"{whole.cases} cases in {reported - began:.0f} s"
                print(f"{done}, {whole.violations} with violations", file=sys.stderr, flush=True)
    print("| fault | executor | cases | interrupted | resumed | runs | longest run | violations |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for (fault, executor), line in [*sorted(table.items()), (("all", "both"), whole)]:
        print(f"| {fault} | {executor} | {line}")
    return 1 if whole.violations else 0


def try_case(case: Case) -> None:
    """Run a case, print its violations, and remove its files."""
    try:
        run(case)
    except Exception:
        case.violations.append(f"the script failed: {traceback.format_exc()}")
    if case.violations:
        report_violations(case)
    for path in (case.folder, *case.bench.disk.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def report_violations(case: Case) -> None:
    """Print what is wrong with a case, and what its commands printed."""
    log = case.log.read_text(errors="replace") if case.log.exists() else ""
    print(
        f"case {case.number}: {case.fault}, {case.executor} on {case.spec}: "
        f"{'; '.join(case.violations)}\n{log[-3000:]}",
        flush=True,
    )


def run(case: Case) -> None:
    """Run a case: the damaged command, then the same command until it succeeds."""
    fault = FAULTS[case.fault]
    closed_in_threads = (case.fault, case.executor) == CLOSED_IN_THREADS
    code = fault.do(case)
    allowed = CODES | ({-signal.SIGKILL} if case.fault == "kill the command" else set())
    if code not in allowed:
        case.violations.append(f"the damaged command ended with {code}")
    elif code and not (fault.interrupts or closed_in_threads):
        case.violations.append(f"the command ended with {code} in spite of its recovery")
    elif code in {errors.EXIT_TASKS_FAILED, errors.EXIT_USAGE}:
        case.violations.append(f"the damaged command ended with {code}")
    case.interrupted = code != 0
    if case.dice.random() < 0.5:  # otherwise the next command starts at once
        check_left(case)
    # SQLite cannot merge its log into a journal that a task closed; the next command does.
    unmerged = closed_in_threads and case.journal.with_name("j.db-wal").exists()
    while (code or unmerged) and case.runs < MOST_RUNS:
        code, unmerged = finish(case, case.start()), False
        if code:
            case.violations.append(f"run {case.runs} ended with {code}")
    check_left(case)
    if code:
        case.violations.append("the job did not finish")
        return
    check_folders(case)
    found = outcome(case)
    case.resumed = (
        case.runs > 1 and json.loads((case.folder / "out").read_text())["resumed_tasks"] > 0
    )
    if found != case.bench.expected:
        differing = [name for name in found if found[name] != case.bench.expected[name]]
        case.violations.append(f"differs from an undisturbed run: {', '.join(differing)}")


@dataclass
class Line:
    """A line of the table: what became of some cases."""

    cases: int = 0
    interrupted: int = 0
    resumed: int = 0
    runs: int = 0
    longest_s: float = 0.0
    violations: int = 0

    def add(self, case: Case) -> None:
        """Count a case."""
        self.cases += 1
        self.interrupted += case.interrupted
        self.resumed += case.resumed
        self.runs += case.runs
        self.longest_s = max(self.longest_s, case.longest_s)
        self.violations += bool(case.violations)

    def __str__(self) -> str:
        counts = f"{self.cases} | {self.interrupted} | {self.resumed} | {self.runs}"
        return f"{counts} | {self.longest_s:.1f} s | {self.violations} |"


if __name__ == "__main__":
    sys.exit(main())
