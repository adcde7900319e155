"""Take one sample: run a fresh process of an interpreter to its end, and check its report.

The process is a child of its block's nursery (`todobatch.lab.measure.nursery`). It is killed with
all its workers on a timeout and on Ctrl-C, and it ends by itself when this process is gone.
"""

import datetime as dt
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from todobatch import runtime
from todobatch.child.sample import SampleSpec
from todobatch.child.tasks import TaskSource
from todobatch.errors import MeasurementError
from todobatch.executors.base import Placement
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.measure.conditions import conditions
from todobatch.lab.measure.nursery import END_TIMEOUT_S, Nursery, explain_end
from todobatch.lab.store.schema import SCHEMA, Cell, Sample, WorkloadShape
from todobatch.lab.store.validity import SLACK, SLACK_S, impossible_times
from todobatch.units import Seconds, show_seconds

UNREPORTED: Mapping[str, Any] = MappingProxyType({
    "wall_s": math.nan, "cpu_s": math.nan, "pool_start_s": math.nan, "peak_bytes": 0,
    "peak_method": "", "tasks": 0, "failed": 0, "batches": 0, "digest": "",
    "voluntary_switches": None, "involuntary_switches": None, "cpu_quota": [],
    "worker_totals": [], "spans": [],
})  # fmt: skip
"""What a process reports for its sample, with the values of a sample without a report."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the schedule: a block, a position in it, and the cell that is sampled there."""

    block: int
    position: int
    cell: Cell
    placement: Placement = "none"


@dataclass(frozen=True, slots=True)
class Sampler:
    """Takes samples of one plan. Used by one thread; `close` ends what it started."""

    interpreters: Mapping[str, Interpreter]
    source: TaskSource
    today: str
    timeout_s: Seconds = 300.0
    own_code: bool = True
    """Whether the samples may import modules from the current folder."""
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    _nurseries: dict[tuple[int, str], Nursery] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """The nurseries of the current block, by block and interpreter."""

    def close(self) -> None:
        """End the nurseries. Those of a block are also ended when the next block begins."""
        while self._nurseries:
            self._nurseries.popitem()[1].close()

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        """Take one sample and check it. What went wrong is in its `void`; nothing is raised."""
        load = os.getloadavg()[0]
        started, begun = dt.datetime.now(tz=dt.UTC), time.monotonic()
        observed, failure = self._observe(slot, shape)
        process_s = round(time.monotonic() - begun, 6)
        interpreter = self.interpreters[slot.cell.interpreter]
        sample = Sample(
            schema=SCHEMA,
            number=number,
            block=slot.block,
            position=slot.position,
            workload=slot.cell.workload,
            interpreter=slot.cell.interpreter,
            executor=slot.cell.executor,
            workers=slot.cell.workers,
            gil_enabled=interpreter.facts["gil_enabled"] if failure else _any_gil(observed),
            started=started.isoformat(timespec="milliseconds"),
            process_s=process_s,
            load_1m=round(load, 2),
            pyperf={} if failure else conditions(started, process_s, observed["wall_s"]),
            void=failure or why_void(observed, interpreter, shape),
            **{name: observed[name] for name in UNREPORTED},
        )
        if sample.void is None:
            why = impossible_times(sample, runtime.cpus_available())
            return replace(sample, void=why)
        return sample

    def _observe(self, slot: Slot, shape: WorkloadShape) -> tuple[Mapping[str, Any], str | None]:
        """Run one sample's process to its end, and return its report.

        Without a report, returns `UNREPORTED` and why there is none.
        """
        cell = slot.cell
        spec = SampleSpec(
            workload=cell.workload,
            executor=cell.executor,
            workers=cell.workers,
            batches=shape.batches,
            batch_size=shape.batch_size,
            source=self.source,
            today=dt.date.fromisoformat(self.today),
            placement=slot.placement,
        )
        try:
            with self._nursery(cell.interpreter, slot.block).child() as child:
                child.send(spec)
                observed = child.next_event(self.timeout_s)
                child.wait(END_TIMEOUT_S)
        except TimeoutError:
            return UNREPORTED, f"it took longer than {self.timeout_s:.0f} s and was ended"
        except MeasurementError as error:  # the next sample gets a new nursery
            if gone := self._nurseries.pop((slot.block, cell.interpreter), None):
                gone.close()
            return UNREPORTED, error.cause
        # A process that hangs after it has sent everything is killed, but its sample counts.
        if observed is None or (child.returncode and not child.was_killed):
            return UNREPORTED, f"its process {explain_end(child)}"
        return observed, None

    def _nursery(self, interpreter: str, block: int) -> Nursery:
        """Return the nursery of a block, and end those of other blocks."""
        if any(at != block for at, _ in self._nurseries):
            self.close()
        if (block, interpreter) not in self._nurseries:
            found = self.interpreters[interpreter]
            environment = worker_environment(found, own_code=self.own_code)
            environment |= self.extra_environment
            self._nurseries[block, interpreter] = Nursery(found, environment)
        return self._nurseries[block, interpreter]


def why_void(
    observed: Mapping[str, Any], interpreter: Interpreter, shape: WorkloadShape
) -> str | None:
    """Return why a sample is void, or None for a valid one."""
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
    wall_s, clock_s = observed["wall_s"], observed["clock_s"]
    if abs(wall_s - clock_s) > (SLACK - 1) * clock_s + SLACK_S:
        return (
            f"the run took {show_seconds(wall_s)} by the present clock, but "
            f"{show_seconds(clock_s)} by the one saved before the workload was loaded: the "
            "workload changed a clock"
        )
    if observed["failed"]:
        first = observed["errors"][0] if observed["errors"] else "no reason given"
        return f"{observed['failed']} tasks failed: {first}"
    if observed["retried"]:
        return (
            f"batches were retried {observed['retried']} times, and {observed['replaced']} workers "
            "were replaced"
        )
    if observed["batches"] != shape.batches:
        return f"only {observed['batches']} of {shape.batches} batches came back"
    if shape.digest and observed["digest"] != shape.digest:
        return (
            f"its output differs: digest {observed['digest'][:12]}, "
            f"where sequential gave {shape.digest[:12]}"
        )
    return None


def worked(sample: Sample) -> int:
    """Return how many workers processed a batch."""
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
