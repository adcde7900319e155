"""Kill a job with a journal at each of its writes in turn: ``killed_at_each_write.py FOLDER``

With the further argument ``retry``, the job has ended with failed tasks, and their retry is killed.

Each job runs in a forked process that kills itself (SIGKILL) at its n-th step. A step is before or
after a statement of the journal, an fsync or the output's move, or in the middle of writing rows.
The job is then resumed, killed at another step, and resumed to its end. This is repeated for every
n, until a job ends before step n. The script prints the outcomes as one JSON document.
"""

import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from todobatch.coordinator import journal
from todobatch.ipc.decoding import from_json
from todobatch.ipc.parent_process import ParentProcess
from todobatch.job.engine import Engine
from todobatch.job.output import RowFile
from todobatch.job.spec import Job

TASKS = 70
JOB: dict[str, Any] = {
    "generate": TASKS, "seed": 3, "workload": "report", "batch_size": 10, "today": "2026-11-24",
    "recovery": {"backoff_s": 0.0, "watchdog_s": 60.0},
}  # fmt: skip


RETRY: dict[str, Any] = JOB | {
    "workload": "tests.tools.killed_at_each_write:work",
    "batch_size": 20,
    "recovery": JOB["recovery"] | {"retry_failed": True, "retries": 0},
}


def cases_of(folder: Path, *what: str) -> list[dict[str, Any]]:
    """Run this script in a process of its own, and return the outcomes."""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, __file__, folder, *what],
        check=True, capture_output=True, text=True, cwd=root, timeout=280,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])},
    )  # fmt: skip
    cases: list[dict[str, Any]] = json.loads(done.stdout)
    return cases


def work(task: Any) -> str:
    """Fail for some titles until the environment says that this is fixed."""
    if len(task.title) % 5 == 0 and "FIXED" not in os.environ:
        raise ValueError("not yet")
    return str(task.title)


def attempt(folder: Path, kill_at: int, job: dict[str, Any] = JOB) -> dict[str, Any]:
    """Run or resume the job in a new process; return its events and how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            patch(kill_at)
            files = {"output": f"{folder}/out.jsonl", "journal": f"{folder}/j.db"}
            code = Engine(from_json(Job, job | files), ParentProcess(reader, writer)).run()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as events:
        said = [json.loads(line) for line in events if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    return {"killed": os.WIFSIGNALED(status), "last": said[-1] if said else {}, "events": said}


def patch(kill_at: int) -> None:
    """Make this process kill itself at its step number `kill_at`."""
    steps = 0

    def step(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        del name

    class Stepped(sqlite3.Connection):
        """A connection with a step before each statement, and one after each commit."""

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            step("statement")
            done = super().execute(*arguments)
            if arguments[0] == "COMMIT":
                step("committed")
            return done

    sqlite3.connect = partial(sqlite3.connect, factory=Stepped)  # type: ignore[assignment]
    journal.SHORTEST_S = journal.LONGEST_S = 0.0  # each batch is saved at once
    fsync, replace, write = os.fsync, pathlib.Path.replace, RowFile.write

    def stepped_fsync(handle: int) -> None:
        step("before fsync")
        fsync(handle)
        step("after fsync")

    def stepped_replace(self: Path, target: Any) -> Path:
        step("before replace")
        moved = replace(self, target)
        step("after replace")
        return moved

    def stepped_write(self: Any, batch: Any, result: Any) -> None:
        nonlocal steps
        if steps + 1 == kill_at:  # half a row, and then nothing
            os.write(self._file.fileno(), b'{"task": 1, "ti')
        step("while writing")
        write(self, batch, result)
        step("written")

    os.fsync = stepped_fsync  # type: ignore[assignment]
    pathlib.Path.replace = stepped_replace  # type: ignore[method-assign, assignment]
    RowFile.write = stepped_write  # type: ignore[method-assign]


def outcome(folder: Path, last: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a result that must be the same for every job."""
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    rows.sort(key=lambda row: row["task"])
    times = Counter(row["task"] for row in rows)
    return {
        "once": sorted(times) == list(range(TASKS)) and set(times.values()) == {1},
        "rows": {str(row["task"]): row.get("result") for row in rows},
        "left": sorted(path.name for path in folder.iterdir()),
        **{key: last.get(key) for key in ("digest", "result", "tasks", "failed", "batches")},
    }  # fmt: skip


def main() -> None:
    """Run all jobs in the folder, and print the outcomes."""
    base = Path(sys.argv[1])
    if sys.argv[2:] == ["retry"]:
        print(json.dumps(retries(base)))
        return
    cases: list[dict[str, Any]] = []
    kill_at = 0  # never: the run that is not interrupted
    while True:
        folder = base / str(kill_at)
        folder.mkdir()
        first = attempt(folder, kill_at)
        if kill_at and not first["killed"]:
            break
        if kill_at:
            attempt(folder, 1 + kill_at * 7 % 40)
        last = first if not kill_at else attempt(folder, 0)
        cases.append({
            "kill_at": kill_at,
            "resumed": [e["tasks"] for e in last["events"] if e["event"] == "resumed"],
            **outcome(folder, last["last"].get("report", {})),
        })  # fmt: skip
        kill_at += 1
    print(json.dumps(cases))


def retries(base: Path) -> list[dict[str, Any]]:
    """Kill the retry of a finished job's failed tasks at each step, and return the outcomes."""
    folder, kept = base / "job", base / "kept"
    folder.mkdir()
    attempt(folder, 0, RETRY)
    folder.rename(kept)  # the journal knows the output by its path
    os.environ["FIXED"] = "1"
    cases: list[dict[str, Any]] = []
    kill_at = 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        first = attempt(folder, kill_at, RETRY)
        if kill_at and not first["killed"]:
            return cases
        if kill_at:
            attempt(folder, 1 + kill_at * 7 % 30, RETRY)
        last = first if not kill_at else attempt(folder, 0, RETRY)
        cases.append({"kill_at": kill_at, **outcome(folder, last["last"].get("report", {}))})
        kill_at += 1


if __name__ == "__main__":
    main()
