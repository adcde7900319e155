"""Kill a job with a journal at each of its writes in turn. ``killed_at_each_write.py FOLDER``

Each job runs in a forked process that kills itself (SIGKILL) at its n-th step: before or after a
statement of the journal, an fsync, the output's move into place, or in the middle of writing rows.
It is then gone on with, killed at another step, and gone on with to its end. This is repeated for
every n, until a job comes to its end before step n. One JSON document says what each came to.
"""

import json
import os
import pathlib
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from todobatch.coordinator import journal
from todobatch.job.engine import Engine
from todobatch.job.output import RowFile
from todobatch.job.spec import Job
from todobatch.parent_process import ParentProcess

TASKS = 70
JOB: dict[str, Any] = {
    "generate": TASKS, "seed": 3, "workload": "report", "batch_size": 10, "today": "2026-11-24",
    "recovery": {"backoff_s": 0.0, "watchdog_s": 60.0},
}  # fmt: skip


def attempt(folder: Path, kill_at: int) -> dict[str, Any]:
    """Begin or resume the job in a process of its own; return its events, and how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            patch(kill_at)
            files = {"output": f"{folder}/out.jsonl", "journal": f"{folder}/j.db"}
            code = Engine(Job.from_json(JOB | files), ParentProcess(reader, writer)).run()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as events:
        sent = [json.loads(line) for line in events if line.endswith("\n")]
    report = sent[-1].get("report", {}) if sent else {}
    _, status = os.waitpid(child, 0)
    return {"killed": os.WIFSIGNALED(status), "report": report, "events": sent}


def patch(kill_at: int) -> None:
    """From now on, this process is killed at its step number `kill_at`."""
    steps = 0

    def step(name: str) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        del name

    journal.on_step = step
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


def outcome(folder: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return what must be the same for every case."""
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    rows.sort(key=lambda row: row["task"])
    times = Counter(row["task"] for row in rows)
    return {
        "once": sorted(times) == list(range(TASKS)) and set(times.values()) == {1},
        "rows": {str(row["task"]): row.get("result") for row in rows},
        "left": sorted(path.name for path in folder.iterdir()),
        **{key: report.get(key) for key in ("digest", "result", "tasks", "failed", "batches")},
    }  # fmt: skip


def main() -> None:
    """Kill a job at each step in turn, resume it, and print what came of it as JSON."""
    base = Path(sys.argv[1])
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
            **outcome(folder, last["report"]),
        })  # fmt: skip
        kill_at += 1
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
