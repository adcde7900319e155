"""Run every executor with every fault, each pair in a process of its own under a time limit.

    (executor, fault) ─► process, killed when it hangs ─► Record ─► Row ─► Drill

A process reports each task as its result comes in, so what it reported before it died counts. Tasks
are counted here, one by one, and compared with what the coordinator counted itself: a row where the
two disagree has failed.

Pairs run side by side, each in a process that a thread follows. The threads share one event, which
asks them to kill their processes.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from todobatch import runtime
from todobatch.child.drill import OWN, WRAPPED, DrillJob
from todobatch.child.faults import FAULTS, Fault
from todobatch.child.peers import PEERS
from todobatch.errors import BuildError, UsageError, did_you_mean
from todobatch.files import temporary_folder
from todobatch.lab.drill import rows
from todobatch.lab.drill.follow import QUIET_PATIENT_S, Limits, Stage, run_once
from todobatch.lab.drill.killed import run_killed
from todobatch.lab.drill.record import Record
from todobatch.lab.drill.rows import Drill, Row, row_of
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.interpreters.support import PEER_REQUIREMENTS, support_folder
from todobatch.lab.plan.cells import check_number
from todobatch.lab.store.machine import without_folders
from todobatch.units import Seconds

DEFAULT_TASKS = 200
LEAST_TASKS, MOST_TASKS = 20, 10_000
WORKERS = 2
BATCH_SIZE = 10
DEADLINE_S: Seconds = 1.0
WATCHDOG_S: Seconds = 3.0
RETRIES = 2
BACKOFF_S: Seconds = 0.05
PER_CPU = 2
"""Pairs that run side by side on each CPU; they mostly wait."""
MOST_SIDE_BY_SIDE = 4
HAVE_FORK_SERVERS = frozenset({"processes", "wrapped-processes"})
"""Our executors with a fork server. Whether a peer has one shows when the fault strikes."""
PEER_ENTRIES: Mapping[str, str] = MappingProxyType(
    {each.name: f"todobatch.child.peers:{each.entry}" for each in PEERS.values()}
)
"""Name of a peer -> ``module:function``."""

OnProgress = Callable[[str, str], None]
"""Called for each pair with the executor's name and a text about the fault and progress."""


def drill(
    interpreter: Interpreter,
    on_progress: OnProgress,
    *,
    executors: Sequence[str] | None = None,
    faults: Sequence[str] | None = None,
    peers: bool = True,
    tasks: int = DEFAULT_TASKS,
) -> Drill:
    """Run every executor with every fault on an interpreter.

    `executors` names what to drill, peers included. By default all executors of todobatch are
    drilled, and with `peers` all peers too. Raises UsageError for an unknown name or a number of
    `tasks` out of range. Ctrl-C kills all processes, then KeyboardInterrupt is raised.
    """
    names = _known(executors, [*OWN, *(PEERS if peers or executors else ())], "executors")
    struck_by = _known(faults, list(FAULTS), "faults")
    check_number(tasks, LEAST_TASKS, MOST_TASKS, "`tasks`")
    begun = time.monotonic()
    environment = worker_environment(interpreter)
    missing = _add_peers(environment, interpreter) if any(n in PEERS for n in names) else ""
    pairs = [(name, FAULTS[fault]) for name in names for fault in struck_by]
    driller = Driller(Stage(interpreter, environment), tasks, missing=missing)
    return Drill(
        interpreter=interpreter.spec,
        python=interpreter.facts["version"],
        gil_enabled=interpreter.facts["gil_enabled"],
        cpus=runtime.cpus_available(),
        workers=WORKERS,
        batch_size=BATCH_SIZE,
        deadline_s=DEADLINE_S,
        retries=RETRIES,
        tasks=tasks,
        rows=tuple(_side_by_side(driller, pairs, on_progress)),
        seconds=round(time.monotonic() - begun, 3),
    )


def _side_by_side(
    driller: "Driller", pairs: Sequence[tuple[str, Fault]], on_progress: OnProgress
) -> Iterator[Row]:
    """Yield the rows in the order of the pairs."""
    at_once = max(1, min(PER_CPU * runtime.cpus_available(), MOST_SIDE_BY_SIDE))
    with ThreadPoolExecutor(at_once, thread_name_prefix="drill") as pool:
        try:
            found = [pool.submit(driller.run, name, fault) for name, fault in pairs]
            for number, ((name, fault), row) in enumerate(zip(pairs, found, strict=True), start=1):
                on_progress(name, f"{fault.name}  {number} of {len(pairs)}")
                yield row.result()
        finally:
            driller.stage.ending.set()  # on Ctrl-C the threads kill their processes
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Driller:
    """Drills one pair at a time. Several threads use it, and nothing in it changes."""

    stage: Stage
    tasks: int = DEFAULT_TASKS
    peers: Mapping[str, str] = field(default_factory=lambda: PEER_ENTRIES)
    missing: str = ""
    """Why the peers could not be installed; empty if they were."""
    limits: Limits = field(default_factory=Limits)

    def run(self, executor: str, fault: Fault) -> Row:
        """Run an executor with a fault, and return the row."""
        begun = time.monotonic()
        entry = self.peers.get(executor)
        claims = entry is None and rows.isolates(OWN[executor].capabilities, fault)
        limits = replace(self.limits, quiet_s=QUIET_PATIENT_S) if claims else self.limits
        with temporary_folder("drill") as folder:
            job = self._job(executor, entry, fault, folder)
            if why := self._unavailable(executor, fault):
                record = Record(ended="unavailable", why=why)
            else:
                run = run_killed if fault.needs == "journal" else run_once
                record = run(self.stage, job, limits)
        return row_of(record, job, claims=claims, seconds=time.monotonic() - begun)

    def _job(self, executor: str, peer: str | None, fault: Fault, folder: Path) -> DrillJob:
        return DrillJob(
            executor=executor,
            peer=peer,
            fault=fault.name,
            struck=self.tasks // 3,
            folder=str(folder),
            tasks=self.tasks,
            workers=WORKERS,
            batch_size=BATCH_SIZE,
            deadline_s=DEADLINE_S,
            retries=RETRIES,
            backoff_s=BACKOFF_S,
            watchdog_s=WATCHDOG_S,
        )

    def _unavailable(self, executor: str, fault: Fault) -> str:
        """Return why the executor cannot be run with the fault, or an empty text."""
        if executor in self.peers:
            if self.missing and executor in PEERS and PEERS[executor].extra:
                return self.missing
            return rows.NO_AGGREGATE if fault.where == "aggregate" else ""
        if executor in WRAPPED and fault.needs == "journal":
            return rows.NOT_A_NAME
        if fault.name == "fork-server-killed" and executor not in HAVE_FORK_SERVERS:
            return rows.NO_FORK_SERVER
        return ""


def _add_peers(environment: dict[str, str], interpreter: Interpreter) -> str:
    """Add the installed peers to the import path; return why they are missing, or empty text."""
    try:
        folder = support_folder(interpreter, PEER_REQUIREMENTS)
    except BuildError as error:
        return f"not installed: {without_folders(error.cause)}"
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], str(folder)])
    return ""


def _known(asked: Sequence[str] | None, known: Sequence[str], parameter: str) -> list[str]:
    """Return the names asked for, each once; all known ones by default. Raises UsageError."""
    for name in asked or ():
        if name not in known:
            raise UsageError(
                f"unknown name {name!r}{did_you_mean(name, known)}",
                place=f"`{parameter}`",
                remedy=f"use some of {', '.join(known)}",
            )
    return list(dict.fromkeys(asked or known))
