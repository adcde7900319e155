"""Kill the coordinator of a job in the middle of its work, and start the job again.

An executor of todobatch runs under ``todobatch run --journal``, so the second run resumes. A
peer has no journal: its second run begins anew, beside the results that came back before the kill.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from todobatch.child.drill import DrillJob
from todobatch.child.faults import MARK, SETTINGS, coordinator_pid
from todobatch.ipc.child_process import ChildProcess, end_group
from todobatch.lab.drill.follow import POLL_S, Limits, Stage, follow, set_end, start_drill
from todobatch.lab.drill.record import Record
from todobatch.units import Seconds

END_S: Seconds = 5.0
"""Workers that live longer than this after their coordinator's end count as left over."""
ROWS_WITHIN_S: Seconds = 3.0
"""Time that the struck task waits for further rows before the coordinator is killed."""


def run_killed(stage: Stage, job: DrillJob, limits: Limits) -> Record:
    """Run a job whose coordinator is killed, run it again, and return what both reported."""
    run = _run_own if job.peer is None else _run_peer
    return run(stage, job, limits)


def alive_in(group: int) -> list[int]:
    """Return the ids of a group's processes that are running, from /proc (see proc(5))."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state not in "ZX":
                    alive.append(int(entry.name))
    return alive


def count_survivors(record: Record, group: int) -> None:
    """Wait for the end of a killed coordinator's process group, and kill what does not end."""
    end = time.monotonic() + END_S
    while (alive := alive_in(group)) and time.monotonic() < end:
        time.sleep(POLL_S)
    record.left_over = len(alive)
    if alive:
        what = f"{len(alive)} of its processes lived on {END_S:g} s after it was killed"
        record.end("hung", f"{what}, and {'was' if len(alive) == 1 else 'were'} killed")
    end_group(group)


def _run_peer(stage: Stage, job: DrillJob, limits: Limits) -> Record:
    record, folder = Record(), Path(job.folder)
    mark = folder / MARK
    enough = job.tasks // 4  # results before the kill, so that some tasks are repeated

    def is_time() -> bool:
        # A task that holds the GIL may block the rest, so after a while fewer results are enough.
        return mark.exists() and (len(record.settled) >= enough or _has_waited(mark))

    with start_drill(stage, job) as process:
        follow(process, record, stage, limits, until=is_time, folder=folder)
        if process.poll() is not None:
            set_end(record, process)
        elif is_time():
            process.send_signal(signal.SIGKILL)
            process.wait(END_S)
            count_survivors(record, process.pid)
    if not (record.ended == "finished" or record.left_over) or not mark.exists():
        return record
    record.struck = time.monotonic()
    with start_drill(stage, job) as process:
        follow(process, record, stage, limits, folder=folder)
        if process.poll() is not None:
            set_end(record, process)
    return record


def _run_own(stage: Stage, job: DrillJob, limits: Limits) -> Record:
    folder = Path(job.folder)
    output, mark = folder / "out.jsonl", folder / MARK
    record = Record()
    with _start_run(stage, job) as process:
        # Some rows are on the disk by then: the second run must neither lose nor duplicate them.
        follow(process, record, stage, limits, until=lambda: _has_rows(mark, output))
        if process.poll() is None and (pid := coordinator_pid(folder)) is not None:
            record.struck = time.monotonic()
            # The command would kill what its coordinator leaves behind, so it is stopped meanwhile.
            process.send_signal(signal.SIGSTOP)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            count_survivors(record, pid)
    if record.struck is None:
        set_end(record, process)
        return record
    with _start_run(stage, job) as process:
        follow(process, record, stage, limits)
    set_end(record, process)
    _read_rows(output, record, time.monotonic())
    return record


def _start_run(stage: Stage, job: DrillJob) -> ChildProcess:
    """Start ``todobatch run`` with a journal; started again, it resumes the job."""
    folder = Path(job.folder)
    tasks = folder / "tasks.jsonl"
    tasks.write_text("".join(f'{{"title": "{n}"}}\n' for n in range(job.tasks)), "utf-8")
    command = [sys.executable, "-m", "todobatch", "run", tasks, "--output", folder / "out.jsonl"]
    command += ["--journal", folder / "journal.db", "--json", "--no-baseline"]
    command += ["--workload", "todobatch.child.faults:Drilled", "-e", job.executor]
    command += ["--workers", str(job.workers), "--batch-size", str(job.batch_size)]
    command += ["--interpreter", stage.interpreter.executable]
    strike = {"fault": job.fault, "task": job.struck, "folder": job.folder}
    environment = {**os.environ, SETTINGS: json.dumps(strike)}
    return ChildProcess.start(command, environment, folder=folder, channels=False)


def _has_rows(mark: Path, output: Path) -> bool:
    """Return whether to kill now: the struck task waits, and rows exist or it waited for long."""
    try:
        waited = _has_waited(mark)
        rows = output.with_name(f"{output.name}.part").stat().st_size
    except OSError:
        return False
    return rows > 0 or waited


def _has_waited(mark: Path) -> bool:
    return time.time() - mark.stat().st_mtime > ROWS_WITHIN_S


def _read_rows(output: Path, record: Record, at: Seconds) -> None:
    """Record the rows of ``--output``; a row that names another task is not recorded."""
    try:
        lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        record.end("broke", f"its output cannot be read: {error}")
        return
    for line in lines:
        row = {"tasks": [line["task"]], "at": at}
        if "error" in line:
            record.add({"event": "failed", "error": line["error"], **row})
        elif line["result"] == line["task"] == int(line["title"]):
            record.add({"event": "done", **row})
