"""Takes one sample: a fresh process of an interpreter, followed to its end, judged, never trusted.

The process is a child of its block's nursery (`nursery`). It gets a group of its own,
so that it and all its workers can be ended together - on a timeout, on Ctrl-C, and when this
process is killed (it watches its standard input).
"""

import datetime as dt
import json
import math
import os
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from todobatch.child.sample import SampleSpec
from todobatch.child.tasks import TaskSource
from todobatch.errors import MeasurementError
from todobatch.executors.base import Placement
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.measure.nursery import Child, Nursery
from todobatch.lab.store.machine import without_folders
from todobatch.lab.store.schema import SCHEMA, Cell, Sample, WorkloadShape
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
    placement: Placement = "none"


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
    """Takes samples of one plan. Used by one thread; `close` ends what it started."""

    interpreters: Mapping[str, Interpreter]
    source: TaskSource
    today: str
    timeout_s: Seconds = 300.0
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    _nurseries: dict[tuple[int, str], Nursery] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """Of the block under way, by block and interpreter."""

    def close(self) -> None:
        """End the nurseries; those of an earlier block are ended when the next one begins."""
        while self._nurseries:
            self._nurseries.popitem()[1].close()

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        """Take one sample and judge it. What went wrong is in its `void`; nothing is raised."""
        load = os.getloadavg()[0]
        taken = self.run(slot.cell, shape, block=slot.block, placement=slot.placement)
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
            voluntary_switches=observed.get("voluntary_switches"),
            involuntary_switches=observed.get("involuntary_switches"),
            cpu_quota=observed.get("cpu_quota", []),
            worker_totals=workers,
            spans=observed.get("spans", []),
            pyperf=taken.pyperf,
            void=taken.trouble or why_void(observed, interpreter, shape),
        )

    def run(
        self,
        cell: Cell,
        shape: WorkloadShape,
        *,
        block: int = -1,
        placement: Placement = "none",
    ) -> Taken:
        """Run one sample's process to its end, whatever end that is."""
        started = dt.datetime.now(tz=dt.UTC).isoformat(timespec="milliseconds")
        begun = time.monotonic()
        spec: SampleSpec = {
            "name": f"{cell.workload}/{cell.executor}/{cell.workers}",
            "workload": cell.workload,
            "executor": cell.executor,
            "workers": cell.workers,
            "batches": shape.batches,
            "batch_size": shape.batch_size,
            "source": self.source,
            "today": self.today,
            "placement": placement,
        }
        said = {"observed": b"", "pyperf": b"", "stderr": b""}
        try:
            trouble = self._follow(cell.interpreter, block, spec, said, begun)
        except MeasurementError as error:  # the nursery is gone: the next sample gets a new one
            if gone := self._nurseries.pop((block, cell.interpreter), None):
                gone.close()
            trouble = error.cause
        return Taken(
            observed=_json(said["observed"]) if trouble is None else None,
            pyperf=_pyperf_run(said["pyperf"]) if trouble is None else {},
            process_s=round(time.monotonic() - begun, 6),
            started=started,
            trouble=trouble,
        )

    def _follow(
        self,
        interpreter: str,
        block: int,
        spec: SampleSpec,
        said: dict[str, bytes],
        begun: Seconds,
    ) -> str | None:
        """Have a child take the sample, and keep what it said; gives what went wrong, if it did."""
        with _two_pipes() as pipes:
            child = self._nursery(interpreter, block).bear(*(pipe.writer for pipe in pipes))
            for pipe in pipes:
                pipe.close_writer()
            try:
                _send(child, spec)
                in_time = _read_all(child, pipes, said, begun + self.timeout_s)
            finally:
                hung = child.end()
        if not in_time:
            return f"it took longer than {self.timeout_s:.0f} s and was ended"
        if child.returncode and not hung:  # what hung after it had said all was ended by us
            return how_it_ended(child.returncode, said["stderr"])
        return None

    def _nursery(self, interpreter: str, block: int) -> Nursery:
        """The nursery of a block; those of another block are ended."""
        if any(at != block for at, _ in self._nurseries):
            self.close()
        if (block, interpreter) not in self._nurseries:
            found = self.interpreters[interpreter]
            environment = {**worker_environment(found), **self.extra_environment}
            self._nurseries[block, interpreter] = Nursery(found, environment)
        return self._nurseries[block, interpreter]


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
    if len(set(observed["cpu_quota"])) > 1:
        before, after = ("none" if each is None else f"{each:g}" for each in observed["cpu_quota"])
        return f"the CPU quota of its cgroup changed from {before} to {after} CPUs meanwhile"
    if observed["failed"]:
        first = observed["errors"][0] if observed["errors"] else "no reason given"
        return f"{observed['failed']} tasks failed: {first}"
    if observed["retried"]:
        return (
            f"{observed['retried']} runs of batches were repeated, {observed['replaced']} workers "
            "replaced"
        )
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


def _send(child: Child, spec: SampleSpec) -> None:
    with suppress(BrokenPipeError):  # it died at once; its exit code and stderr tell
        child.stdin.write(json.dumps(spec).encode() + b"\n")


def _read_all(
    child: Child, pipes: Sequence[_Pipe], said: dict[str, bytes], deadline: Seconds
) -> bool:
    """Read until everything is said and the process has ended; False when time ran out."""
    with selectors.DefaultSelector() as selector:
        sources = (*(pipe.reader for pipe in pipes), child.stderr.fileno())
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
    if child.wait(max(0.1, min(END_TIMEOUT_S, deadline - time.monotonic()))) is None:
        return True  # it has said all: what hangs while it ends is ended by us
    os.set_blocking(child.stderr.fileno(), False)
    said["stderr"] += child.stderr.read() or b""
    return True


def how_it_ended(code: int, stderr: bytes) -> str:
    """What a process's exit code and what it printed last say, on one line without folders."""
    how = f"was killed ({signal_name(-code)})" if code < 0 else f"ended with code {code}"
    printed = gist(stderr)
    return f"its process {how}: {printed}" if printed else f"its process {how} without a word"


def gist(said: bytes) -> str:
    """What was printed last on one line, without a traceback's frames and without folders."""
    told = [
        line.strip()
        for line in said.decode(errors="replace").splitlines()
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
