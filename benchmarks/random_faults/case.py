"""One job that is damaged once: how its command is started, and what must be true at its end."""

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.random_faults.system import descendants, describe
from benchmarks.random_faults.work import CLOSE
from todobatch import errors
from todobatch.cli import main as todobatch_main

ROOT = Path(__file__).resolve().parents[2]
EXECUTORS = ("processes", "threads")
TASKS = 240
BATCH_SIZE = 5
DEADLINE_S = 2.0
LONGEST_S = 90.0
"""A command may take this many seconds."""
END_S = 10.0
"""Processes may end this many seconds after their command."""
MOST_RUNS = 4
SAME = ("digest", "result", "tasks", "failed", "batches", "failed_batches")
CODES = {
    errors.EXIT_OK, errors.EXIT_TASKS_FAILED, errors.EXIT_USAGE, errors.EXIT_GATE,
    errors.EXIT_UNAVAILABLE, errors.EXIT_MEASUREMENT, errors.EXIT_STORE, errors.EXIT_INTERRUPTED,
}  # fmt: skip


@dataclass
class Bench:
    """What all cases share."""

    folder: Path
    private: bool
    """Whether this process has its own mounts: a small disk and an empty /dev/shm."""
    specs: list[str]
    whole_s: dict[tuple[str, str], float] = field(default_factory=dict)
    """How long an undisturbed command takes, by executor and interpreter."""
    expected: dict[str, Any] = field(default_factory=dict)
    """The report and the rows of an undisturbed command."""

    @property
    def disk(self) -> Path:
        """The folder of the small disk."""
        return self.folder / "disk"


@dataclass
class Case:
    """One job that is damaged once."""

    bench: Bench
    number: int
    executor: str
    spec: str
    fault: str = "none"
    violations: list[str] = field(default_factory=list)
    runs: int = 0
    interrupted: bool = False
    """Whether the damaged command failed."""
    resumed: bool = False
    began: float = 0.0
    """When the latest command was started."""
    longest_s: float = 0.0

    def __post_init__(self) -> None:
        self.dice = random.Random(f"{self.number}/{self.fault}")
        self.folder = self.bench.folder / f"case-{self.number}"
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True)
        self.order = self.folder / "close"
        full = self.bench.private and self.fault.startswith("full disk")
        on_disk = self.fault.removeprefix("full disk: ").split(" and ") if full else []
        self.journal, self.output = (
            (self.bench.disk if name in on_disk else self.folder) / file
            for name, file in (("journal", "j.db"), ("output", "out.jsonl"))
        )
        self.deadline = self.fault == "stop a worker" or self.dice.random() < 0.5

    def arguments(self) -> list[str]:
        """Return the arguments of the command."""
        deadline = self.executor == "processes" and self.deadline
        return [
            "run", "--generate", str(TASKS), "--workload", "benchmarks.random_faults.work:Work",
            "--batch-size", str(BATCH_SIZE), "--executor", self.executor, "--workers", "2",
            "--interpreter", self.spec, "--json",
            "--journal", str(self.journal), "--output", str(self.output),
            *(["--deadline", str(DEADLINE_S), "--retries", "4"] if deadline else []),
        ]  # fmt: skip

    def start(self, file_limit: int | None = None) -> int:
        """Start the command in a fork of this process, and return its number."""
        self.runs += 1
        self.began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code: Any = errors.EXIT_BUG
        try:
            os.setsid()
            os.chdir(ROOT)
            for number, name in ((0, os.devnull), (1, self.folder / "out"), (2, self.log)):
                opened = os.open(name, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if number == 1 else 0))
                os.dup2(opened, number)
                os.close(opened)
            os.lseek(2, 0, os.SEEK_END)
            os.environ.update({"TMPDIR": str(self.temporary), CLOSE: str(self.order)})
            tempfile.tempdir = None
            if file_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            sys.argv = ["todobatch", *self.arguments()]
            todobatch_main()
        except SystemExit as leaving:
            code = leaving.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    @property
    def log(self) -> Path:
        """The file with the standard error of all commands."""
        return self.folder / "err"

    def rows(self) -> int:
        """Return the number of rows that the output has by now."""
        with suppress(OSError):
            return self.output.with_name("out.jsonl.part").read_bytes().count(b"\n")
        return 0


def outcome(case: Case) -> dict[str, Any]:
    """Return the report of the last command, and how many times the output has each row."""
    report = json.loads((case.folder / "out").read_text() or "{}")
    lines = case.output.read_text().splitlines() if case.output.exists() else []
    return {
        **{name: report.get(name) for name in SAME},
        "rows": Counter(lines),
        "tasks once": sorted(json.loads(line)["task"] for line in lines) == list(range(TASKS)),
    }


def check_left(case: Case) -> None:
    """Note processes that run on after their command."""
    end = time.monotonic() + END_S
    while left := descendants():
        if time.monotonic() > end:
            case.violations.append(f"left running: {', '.join(map(describe, left))}")
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            end += END_S
        time.sleep(0.01)


def check_folders(case: Case) -> None:
    """Note what is left in the folder for temporary files, beside the output, and in /dev/shm."""
    known = {"j.db", "out.jsonl", "filler", "tmp", "close", "close.taken", "out", "err"}
    folders = [case.folder, case.temporary]
    if case.bench.private:
        folders += [case.bench.disk, Path("/dev/shm")]  # noqa: S108
    left = [path for folder in folders for path in folder.iterdir() if path.name not in known]
    if left:
        case.violations.append(f"left: {', '.join(map(str, left))}")


def has_ended(command: int) -> bool:
    """Return whether a command has ended; it is not reaped."""
    return os.waitid(os.P_PID, command, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def ended(command: int) -> int | None:
    """Return the exit code of a command, or the negative signal; None while it runs."""
    pid, status = os.waitpid(command, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def finish(case: Case, command: int) -> int:
    """Wait for the end of a command. One that takes too long is a violation, and is killed."""
    while (code := ended(command)) is None:
        time.sleep(0.005)
        if time.monotonic() - case.began > LONGEST_S:
            case.violations.append(f"it ran longer than {LONGEST_S:g} s")
            os.killpg(command, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
            break
    case.longest_s = max(case.longest_s, time.monotonic() - case.began)
    return code
