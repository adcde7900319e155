"""Starts the process in which an executor meets a fault, follows it, and ends it when it hangs.

The other side is `todobatch.child.drill`, and `todobatch run` for the coordinator that is
killed. A process has a group of its own, so that it and its workers can be ended together.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from todobatch.child.drill import DrillJob
from todobatch.child.faults import MARK, SETTINGS, coordinator_pid, struck_at
from todobatch.errors import EXIT_UNAVAILABLE
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.store.machine import without_folders
from todobatch.runtime import signal_name
from todobatch.units import Seconds

LIMIT_S: Seconds = 40.0
"""No process lives longer than this."""
QUIET_S: Seconds = 4.0
"""One that has told of a task and then nothing for so long hangs."""
QUIET_PATIENT_S: Seconds = 15.0
"""The same for an executor that says it copes: it may try a task that hangs several times."""
END_S: Seconds = 5.0
ROWS_WITHIN_S: Seconds = 3.0
POLL_S: Seconds = 0.02
_SAID_BY = re.compile(r"^todobatch: error: (executor \w+: )?")
STDERR = "stderr"
STDERR_KEPT = 4_096  # bytes

End: TypeAlias = Literal["finished", "unavailable", "broke", "died", "hung"]


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a process may live, and how long it may be silent after the first task."""

    whole_s: Seconds = LIMIT_S
    quiet_s: Seconds = QUIET_S


@dataclass(slots=True)
class Story:
    """What a process told until it ended, and how it ended. Filled by one thread."""

    done: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    told: "Counter[int]" = field(default_factory=Counter)
    """Task -> how often it was told of, as done or as failed."""
    strange: dict[int, str] = field(default_factory=dict)
    """Tasks for which something came back that is no result of theirs."""
    settled: dict[int, Seconds] = field(default_factory=dict)
    """Task -> when it was first told of, by the system's monotonic clock."""
    struck: Seconds | None = None
    """When the fault struck first, by the same clock; None when it never did."""
    counted: tuple[int, int] | None = None
    """The coordinator's own count of tasks done and failed, where it got so far."""
    left_over: int = 0
    """Processes that lived on after the one that coordinates was killed."""
    ended: End = "finished"
    why: str = ""

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take one event in."""
        match event["event"]:
            case "done":
                self.done.update(event["tasks"])
                self._settle(event)
            case "failed":
                self.failed.update(dict.fromkeys(event["tasks"], event["error"]))
                self._settle(event)
            case "strange":
                self.strange.update(dict.fromkeys(event["tasks"], event["error"]))
            case "report":
                self.counted = (event["done"], event["failed"])
            case "unavailable":
                self.ended, self.why = "unavailable", event["reason"]
            case "broke":
                self.ended, self.why = "broke", event["error"]

    def end(self, ended: End, why: str) -> None:
        """How it ended, unless it has said so itself."""
        if self.ended == "finished":
            self.ended, self.why = ended, why

    def look_for_survivors(self, group: int) -> None:
        """After the coordinator's end: whether others of its process group have ended too.

        One that has not is ended here, and the story is that of a run that hangs.
        """
        end = time.monotonic() + END_S
        while (alive := alive_in(group)) and time.monotonic() < end:
            time.sleep(POLL_S)
        self.left_over = len(alive)
        if alive:
            what = f"{len(alive)} of its processes lived on {END_S:g} s after it was killed"
            self.end("hung", f"{what}, and {'was' if len(alive) == 1 else 'were'} ended")
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)

    def _settle(self, event: Mapping[str, Any]) -> None:
        self.told.update(event["tasks"])
        for task in event["tasks"]:
            self.settled.setdefault(task, event["at"])


@dataclass(frozen=True, slots=True)
class Stage:
    """What all processes of one drill share. `ending` asks all threads to end theirs: Ctrl-C."""

    interpreter: Interpreter
    environment: Mapping[str, str]
    ending: threading.Event = field(default_factory=threading.Event)


def take(stage: Stage, job: DrillJob, limits: Limits) -> Story:
    """Let an executor meet a fault. What it comes to is in the story; nothing is raised."""
    story = Story()
    _child(stage, job, story, limits)
    story.struck = struck_at(Path(job["folder"]))
    return story


def take_killed(stage: Stage, job: DrillJob, limits: Limits) -> Story:
    """Kill the process that coordinates in the middle of its work, and start it again.

    A peer has no journal: it begins anew, beside the results that came back before the kill.
    """
    return _own_killed(stage, job, limits) if job["peer"] is None else _peer_killed(
        stage, job, limits
    )  # fmt: skip


def alive_in(group: int) -> list[int]:
    """The processes of a group that have not ended, but for a zombie; from /proc, see proc(5)."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state not in "ZX":
                    alive.append(int(entry.name))
    return alive


def _peer_killed(stage: Stage, job: DrillJob, limits: Limits) -> Story:
    story = Story()
    mark = Path(job["folder"]) / MARK
    enough = job["tasks"] // 4  # of them back, so that there is something to do over
    # The rest may wait behind a task that holds the GIL: then the first results are enough.
    _child(
        stage, job, story, limits, kill=True,
        until=lambda: mark.exists() and (len(story.settled) >= enough or _waited(mark)),
    )  # fmt: skip
    if not (story.ended == "finished" or story.left_over) or not mark.exists():
        return story
    story.struck = time.monotonic()
    _child(stage, job, story, limits)
    return story


def _own_killed(stage: Stage, job: DrillJob, limits: Limits) -> Story:
    """``todobatch run --journal --output``, killed when a task has marked that it is under way."""
    folder = Path(job["folder"])
    tasks, output, mark = folder / "tasks.jsonl", folder / "out.jsonl", folder / MARK
    tasks.write_text("".join(f'{{"title": "{n}"}}\n' for n in range(job["tasks"])), "utf-8")
    command = [sys.executable, "-m", "todobatch", "run", str(tasks), "--output", str(output)]
    command += ["--journal", str(folder / "journal.db"), "--json", "--no-baseline"]
    command += ["--workload", "todobatch.child.faults:Drilled", "-e", job["executor"]]
    command += ["--workers", str(job["workers"]), "--batch-size", str(job["batch_size"])]
    command += ["--interpreter", str(stage.interpreter.executable)]
    strike = {"fault": job["fault"], "task": job["struck"], "folder": job["folder"]}
    environment = {**os.environ, SETTINGS: json.dumps(strike)}
    story = Story()
    with _started(command, environment, folder) as process:
        # Some results are on the disk by then, which the second run must neither lose nor double.
        _follow(process, None, story, stage, limits, until=lambda: _under_way(mark, output))
        if process.poll() is None and (pid := coordinator_pid(folder)) is not None:
            story.struck = time.monotonic()
            # The command would end what its coordinator leaves behind: it is stopped meanwhile.
            process.send_signal(signal.SIGSTOP)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            story.look_for_survivors(pid)
    if story.struck is None:
        story.end(*_how_it_ended(process, folder))
        return story
    with _started(command, environment, folder) as process:
        _follow(process, None, story, stage, limits)
    story.end(*_how_it_ended(process, folder))
    _read(output, story, time.monotonic())
    return story


def _under_way(mark: Path, output: Path) -> bool:
    """Whether the struck task waits and there are rows; after a while the first is enough."""
    try:
        waited = _waited(mark)
        rows = output.with_name(f"{output.name}.part").stat().st_size
    except OSError:
        return False
    return rows > 0 or waited


def _waited(mark: Path) -> bool:
    """Whether the struck task has waited for so long that no more rows need be waited for."""
    return time.time() - mark.stat().st_mtime > ROWS_WITHIN_S


def _read(output: Path, story: Story, at: Seconds) -> None:
    """Count the lines of ``--output``, each of which must speak of the task that it names."""
    try:
        lines = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        story.end("broke", f"its output cannot be read: {error}")
        return
    for line in lines:
        if "error" in line:
            story.hear(
                {"event": "failed", "tasks": [line["task"]], "error": line["error"], "at": at}
            )
        elif line["result"] == line["task"] == int(line["title"]):
            story.hear({"event": "done", "tasks": [line["task"]], "at": at})


def _child(
    stage: Stage,
    job: DrillJob,
    story: Story,
    limits: Limits,
    until: Callable[[], bool] = _never,
    *,
    kill: bool = False,
) -> None:
    """One `drill_child` from its start to its end; `kill` it when `until` says so."""
    folder = Path(job["folder"])
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    command = [str(stage.interpreter.executable), "-m", "todobatch.child.drill", str(writer)]
    try:
        with _started(command, stage.environment, folder, writer, json.dumps(job)) as process:
            os.close(writer)
            writer = -1
            _follow(process, reader, story, stage, limits, until, folder)
            ended = process.poll() is not None
            if kill and not ended and until():
                process.kill()
                process.wait()
                story.look_for_survivors(process.pid)
        if ended:
            story.end(*_how_it_ended(process, folder))
    finally:
        os.close(reader)
        if writer != -1:
            os.close(writer)


@contextmanager
def _started(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    writer: int | None = None,
    said: str = "",
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with a group of its own; on leaving, all that is left of the group is ended."""
    with (folder / STDERR).open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=dict(environment),
            cwd=folder,
            pass_fds=() if writer is None else (writer,),
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):  # it died at once; its exit code tells
            process.stdin.write(said.encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        with suppress(ProcessLookupError):  # the usual end: nobody is left in it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with suppress(BrokenPipeError):
            process.stdin.close()


def _follow(
    process: "subprocess.Popen[bytes]",
    events: int | None,
    story: Story,
    stage: Stage,
    limits: Limits,
    until: Callable[[], bool] = _never,
    folder: Path | None = None,
) -> None:
    """Hear events until the process has ended or must be; or `until` says so.

    It must be when it is silent for too long after its first event, or, with the `folder` of the
    mark, after the fault has struck.

    The end of the pipe proves nothing: workers that were forked hold it open. Events carry their
    own time, so that it matters little how often we look.
    """
    begun = last = time.monotonic()
    unread = b""
    while True:
        over = process.poll() is not None  # before the pipe is read, so that nothing is missed
        *lines, unread = (unread + _available(events)).split(b"\n")
        for line in lines:
            story.hear(json.loads(line))
        now = time.monotonic()
        last = now if lines else last
        if over or stage.ending.is_set() or until():
            return
        if now - begun > limits.whole_s:
            story.end("hung", f"it had not ended after {limits.whole_s:g} s and was ended")
            return
        since = last if story.settled else _struck_since(folder, last)
        if since is not None and now - since > limits.quiet_s:
            story.end("hung", f"nothing came back for {limits.quiet_s:g} s, and it was ended")
            return
        stage.ending.wait(POLL_S)


def _struck_since(folder: Path | None, last: Seconds) -> Seconds | None:
    """Since when a process that has told of no task is silent after the strike, if it is."""
    struck = None if folder is None else struck_at(folder)
    return None if struck is None else max(struck, last)


def _available(events: int | None) -> bytes:
    """All that a pipe holds now."""
    if events is None:
        return b""
    chunks = []
    with suppress(BlockingIOError):
        while chunk := os.read(events, 65_536):
            chunks.append(chunk)
    return b"".join(chunks)


def _how_it_ended(process: "subprocess.Popen[bytes]", folder: Path) -> tuple[End, str]:
    """What its exit code says, and the last that it printed."""
    code = process.returncode
    if code == 0:
        return "finished", ""
    if code < 0:
        return "died", f"the whole process was killed ({signal_name(-code)})"
    with (folder / STDERR).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - STDERR_KEPT))
        printed = file.read().decode(errors="replace").split("\n  remedy:")[0].split("\n")
    last = without_folders(" ".join([line for line in printed if line.strip()][-1:])).strip()
    last = _SAID_BY.sub("", last)
    return ("unavailable" if code == EXIT_UNAVAILABLE else "broke"), last or f"exit code {code}"
