"""Takes one sample: a fresh process of an interpreter, followed to its end, judged, never trusted.

The process gets a group of its own, so that it and all its workers can be ended together - on a
timeout, on Ctrl-C, and when this process is killed (it watches its standard input).
"""

import datetime as dt
import json
import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.machine import without_folders
from todobatch.lab.sample_process import SampleSpec
from todobatch.lab.schema import SCHEMA, Cell, Sample, WorkloadShape
from todobatch.lab.tasks import TaskSource
from todobatch.runtime import signal_name
from todobatch.units import Seconds

STDERR_KEPT = 65_536  # bytes
MESSAGE_KEPT = 1_000  # characters of what the process printed last
END_TIMEOUT_S: Seconds = 5.0

# pyperf's metadata that is kept: what differs between samples. What all share is in run.json, and
# host name and paths are nobody's business.
_PYPERF_KEPT = frozenset({"cpu_freq", "cpu_temp", "date", "duration", "load_avg_1min"})


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the schedule: which cell, in which block, where in it."""

    block: int
    position: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class Taken:
    """What came out of one process, before it is judged."""

    observed: dict[str, Any] | None
    pyperf: dict[str, Any]
    process_s: Seconds
    started: str
    trouble: str | None = None
    """Why there is nothing to judge: it ran out of time, was killed, or ended with an error."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """Takes samples of one plan."""

    interpreters: Mapping[str, Interpreter]
    source: TaskSource
    today: str
    timeout_s: Seconds = 300.0
    extra_environment: Mapping[str, str] = field(default_factory=dict)

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        """Take one sample and judge it. What went wrong is in its `void`; nothing is raised."""
        load = os.getloadavg()[0]
        taken = self.run(slot.cell, shape)
        interpreter = self.interpreters[slot.cell.interpreter]
        observed = taken.observed or {}
        workers = observed.get("worker_totals", [])
        return Sample(
            schema=SCHEMA,
            number=number,
            block=slot.block,
            position=slot.position,
            workload=slot.cell.workload,
            interpreter=slot.cell.interpreter,
            executor=slot.cell.executor,
            workers=slot.cell.workers,
            gil_enabled=_any_gil(observed) if observed else interpreter.facts["gil_enabled"],
            wall_s=observed.get("wall_s", math.nan),
            cpu_s=observed.get("cpu_s", math.nan),
            pool_start_s=observed.get("pool_start_s", math.nan),
            peak_bytes=observed.get("peak_bytes", 0),
            peak_method=observed.get("peak_method", ""),
            tasks=observed.get("tasks", 0),
            failed=observed.get("failed", 0),
            batches=observed.get("batches", 0),
            digest=observed.get("digest", ""),
            started=taken.started,
            process_s=taken.process_s,
            load_1m=round(load, 2),
            worker_totals=workers,
            spans=observed.get("spans", []),
            pyperf=taken.pyperf,
            void=taken.trouble or why_void(observed, interpreter, shape),
        )

    def run(self, cell: Cell, shape: WorkloadShape) -> Taken:
        """Run one sample's process to its end, whatever end that is."""
        started = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
        begun = time.monotonic()
        with _two_pipes() as pipes:
            spec: SampleSpec = {
                "name": f"{cell.workload}/{cell.executor}/{cell.workers}",
                "workload": cell.workload,
                "executor": cell.executor,
                "workers": cell.workers,
                "batches": shape.batches,
                "batch_size": shape.batch_size,
                "source": self.source,
                "today": self.today,
                "observed_fd": pipes[0].writer,
            }
            process = self._start(self.interpreters[cell.interpreter], pipes)
            said = {"observed": b"", "pyperf": b"", "stderr": b""}
            try:
                _send(process, spec)
                in_time = _read_all(process, pipes, said, begun + self.timeout_s)
            finally:
                _end(process)
        trouble = None if in_time else f"it took longer than {self.timeout_s:.0f} s and was ended"
        if trouble is None and process.returncode != 0:
            trouble = _how_it_ended(process.returncode, said["stderr"])
        return Taken(
            observed=_json(said["observed"]) if trouble is None else None,
            pyperf=_pyperf_run(said["pyperf"]) if trouble is None else {},
            process_s=round(time.monotonic() - begun, 6),
            started=started,
            trouble=trouble,
        )

    def _start(
        self, interpreter: Interpreter, pipes: Sequence["_Pipe"]
    ) -> "subprocess.Popen[bytes]":
        command = [str(interpreter.executable), "-m", "todobatch.lab.sample_process"]
        # As a pyperf worker: one value of one loop, its JSON to a pipe.
        command += ["--worker", "--worker-task", "0", "-l", "1", "-w", "0", "-n", "1"]
        process = subprocess.Popen(
            [*command, "--pipe", str(pipes[1].writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**worker_environment(interpreter), **self.extra_environment},
            pass_fds=tuple(pipe.writer for pipe in pipes),
            start_new_session=True,
        )
        for pipe in pipes:
            pipe.close_writer()
        return process


def why_void(
    observed: Mapping[str, Any], interpreter: Interpreter, shape: WorkloadShape
) -> str | None:
    """Why what was observed is not what was asked for; None when it is."""
    if not observed:
        return "it ended without a word"
    asked = interpreter.facts
    if observed["version"] != asked["version"]:
        return f"it ran on Python {observed['version']}, not {asked['version']}"
    if asked["free_threaded_build"] and _any_gil(observed):
        return f"the GIL was on in a free-threaded interpreter ({_where_gil(observed)})"
    if not asked["free_threaded_build"] and not _any_gil(observed):
        return "the GIL was off in an interpreter that has one"
    if observed["failed"]:
        first = observed["errors"][0] if observed["errors"] else "no reason given"
        return f"{observed['failed']} tasks failed: {first}"
    if observed["batches"] != shape.batches:
        return f"{observed['batches']} batches came back of {shape.batches}"
    if shape.digest and observed["digest"] != shape.digest:
        return (
            f"its output differs: digest {observed['digest'][:12]}, "
            f"where sequential gave {shape.digest[:12]}"
        )
    return None


def worked(sample: Sample) -> int:
    """Workers that processed a batch; fewer than asked is a note, for the batches all got done."""
    return sum(1 for each in sample.worker_totals if each["batches"])


def _any_gil(observed: Mapping[str, Any]) -> bool:
    workers = observed["worker_totals"]
    seen = [each[when] for each in workers for when in ("gil_before", "gil_after")]
    return any([observed["gil_before"], observed["gil_after"], *seen])


def _where_gil(observed: Mapping[str, Any]) -> str:
    for each in observed["worker_totals"]:
        for when in ("gil_before", "gil_after"):
            if each[when]:
                return f"worker {each['worker']}, {when.removeprefix('gil_')} its batches"
    when = "before" if observed["gil_before"] else "after"
    return f"main thread, {when} the run"


class _Pipe:
    """A pipe to be read here and written by a child."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._writing = True

    def close_writer(self) -> None:
        if self._writing:
            self._writing = False
            os.close(self.writer)

    def close(self) -> None:
        self.close_writer()
        os.close(self.reader)


@contextmanager
def _two_pipes() -> Iterator[tuple[_Pipe, _Pipe]]:
    observed = _Pipe()
    try:
        pyperf = _Pipe()
    except BaseException:
        observed.close()
        raise
    try:
        yield observed, pyperf
    finally:
        observed.close()
        pyperf.close()


def _send(process: "subprocess.Popen[bytes]", spec: SampleSpec) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once; its exit code and stderr tell


def _read_all(
    process: "subprocess.Popen[bytes]",
    pipes: Sequence[_Pipe],
    said: dict[str, bytes],
    deadline: Seconds,
) -> bool:
    """Read until everything is said and the process has ended; False when time ran out."""
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        sources = (*(pipe.reader for pipe in pipes), process.stderr.fileno())
        for name, source in zip(said, sources, strict=True):
            selector.register(source, selectors.EVENT_READ, name)
        waited_for = 2  # both pipes; stderr may be held open by a stray grandchild
        while waited_for:
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                return False
            for key, _ in ready:
                chunk = os.read(key.fd, 65_536)
                kept = said[key.data] + chunk
                said[key.data] = kept[-STDERR_KEPT:] if key.data == "stderr" else kept
                if not chunk:
                    selector.unregister(key.fd)
                    waited_for -= key.data != "stderr"
    try:
        process.wait(max(0.1, min(END_TIMEOUT_S, deadline - time.monotonic())))
    except subprocess.TimeoutExpired:
        return True  # it has said all: what hangs while it ends is ended by us
    os.set_blocking(process.stderr.fileno(), False)
    said["stderr"] += process.stderr.read() or b""
    return True


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process with its whole group, workers that outlived it included."""
    assert process.stdin is not None
    assert process.stderr is not None
    hung = process.poll() is None
    with suppress(ProcessLookupError):  # the usual end: nobody is left in it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if hung and process.returncode == -signal.SIGKILL:
        process.returncode = 0  # by us, after it had said all, or its lateness is the trouble
    for stream in (process.stdin, process.stderr):
        with suppress(BrokenPipeError):
            stream.close()


def _how_it_ended(code: int, stderr: bytes) -> str:
    how = f"was killed ({signal_name(-code)})" if code < 0 else f"ended with code {code}"
    printed = _gist(stderr.decode(errors="replace"))
    return f"its process {how}: {printed}" if printed else f"its process {how} without a word"


def _gist(printed: str) -> str:
    """What was printed last on one line, without a traceback's frames and without folders."""
    told = [
        line.strip()
        for line in printed.splitlines()
        if line.strip() and not line.startswith((" ", "Traceback "))
    ]
    return without_folders(" / ".join(told))[-MESSAGE_KEPT:]


def _json(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _pyperf_run(data: bytes) -> dict[str, Any]:
    """Value and metadata of pyperf's one run, without what would tell whose machine it is."""
    suite = _json(data)
    if suite is None:
        return {}
    (benchmark,) = suite["benchmarks"]
    (run,) = benchmark["runs"]
    metadata = {
        **suite.get("metadata", {}),
        **benchmark.get("metadata", {}),
        **run.get("metadata", {}),
    }
    kept = {name: value for name, value in metadata.items() if name in _PYPERF_KEPT}
    return {**kept, "value": run["values"][0]}
