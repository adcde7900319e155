"""The rows of a drill: what became of the tasks of one executor with one fault."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from todobatch.child.drill import DrillJob
from todobatch.child.faults import FAULTS, Fault, Need
from todobatch.executors.base import Capabilities
from todobatch.lab.drill.record import End, Record
from todobatch.units import Seconds

SCHEMA = 1
NO_AGGREGATE = "it does not aggregate results"
NOT_A_NAME = "todobatch run has no such executor"
NO_FORK_SERVER = "it has no fork server"
ERROR_KEPT = 120
"""The most characters of an error in a note."""

REMEDIES: Mapping[Need, str] = MappingProxyType(
    {
        "crashes": "processes, where a worker that dies is replaced, and its batch is run again",
        "deadline": "processes with a deadline, where a worker that hangs is killed and replaced",
    }
)


@dataclass(frozen=True, slots=True)
class Row:
    """What became of the tasks of one executor with one fault."""

    executor: str
    fault: str
    isolates: bool
    """Whether the executor claims to isolate the fault; for a peer, whether it did in this run."""
    peer: bool
    tasks: int
    """Tasks of the job; 0 where the executor is not available."""
    done: int
    """Tasks with a result."""
    set_aside: int
    """1 when the struck task has no result and was reported with an error of its own."""
    lost: int
    """Tasks that are neither done nor set aside."""
    duplicated: int
    """Reports beyond the first one of each task."""
    recovery_s: Seconds | None
    """From the strike until the struck task was done or set aside; None when a task was lost."""
    seconds: Seconds
    """Total time, including the start of the process."""
    ended: End
    agrees: bool = True
    """Whether the coordinator counted the same; True if it did not finish counting."""
    note: str = ""
    remedy: str = ""

    @property
    def claim_holds(self) -> bool:
        """Whether the run confirms that the executor isolates the fault; True without a claim.

        The fault must have struck, no task may be lost or duplicated, and the run must have ended.
        """
        if self.peer or not self.isolates:
            return True
        whole = self.lost == 0 and self.duplicated == 0 and self.recovery_s is not None
        return whole and self.agrees and self.ended == "finished"


@dataclass(frozen=True, slots=True)
class Drill:
    """All rows, and how they were measured."""

    interpreter: str
    python: str
    gil_enabled: bool
    cpus: int
    workers: int
    batch_size: int
    deadline_s: Seconds
    retries: int
    tasks: int
    seconds: Seconds
    rows: tuple[Row, ...]

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows of executors that claim to isolate the fault but did not."""
        return tuple(row for row in self.rows if not row.claim_holds)

    def as_json(self) -> str:
        """Return one document: `rows` has all rows, `failed` names those whose claim failed."""
        failed = [f"{row.executor}/{row.fault}" for row in self.failed]
        document = {"schema": SCHEMA, "failed": failed, **asdict(self)}
        return json.dumps(document, indent=1, allow_nan=False)


def isolates(capabilities: Capabilities, fault: Fault) -> bool:
    """Return whether an executor with these capabilities claims to isolate the fault.

    Every executor isolates exceptions, and the journal belongs to the coordinator, which all share.
    """
    own = {"crashes": capabilities.isolates_crashes, "deadline": capabilities.enforces_deadlines}
    return own.get(fault.needs, True)


def row_of(record: Record, job: DrillJob, *, claims: bool, seconds: Seconds) -> Row:
    """Return the row of a record, which counts every task of the job.

    `claims` says whether the executor claims to isolate the fault, `seconds` how long it took.
    """
    fault, struck, is_peer = FAULTS[job.fault], job.struck, job.peer is not None
    ran = record.ended != "unavailable"
    tasks = range(job.tasks) if ran else range(0)
    done = record.done.intersection(tasks)
    innocent = {error for task, error in record.failed.items() if task != struck}
    # A struck task that has the error of all others was not isolated: it is counted as lost.
    set_aside = {struck} - done if record.failed.get(struck) not in {None, *innocent} else set()
    lost = len(tasks) - len(done) - len(set_aside)
    duplicated = sum(times - 1 for times in record.times_reported.values())
    unhurt = lost == duplicated == 0 and record.struck is not None and not record.left_over
    return Row(
        executor=job.executor,
        fault=fault.name,
        isolates=ran and (unhurt if is_peer else claims),
        peer=is_peer,
        tasks=len(tasks),
        done=len(done),
        set_aside=len(set_aside),
        lost=lost,
        duplicated=duplicated,
        recovery_s=_recovery_s(record, job) if ran and lost == 0 else None,
        seconds=round(seconds, 3),
        ended=record.ended,
        agrees=record.counted in {None, (len(done), len(record.failed))},
        note="; ".join(_notes(record, job, done)),
        remedy="" if is_peer else _remedy(record, fault, ran=ran, claims=claims),
    )


def _recovery_s(record: Record, job: DrillJob) -> Seconds | None:
    """Return the time from the strike to the last report that it delayed; None without a strike."""
    if record.struck is None:
        return None
    if FAULTS[job.fault].needs == "journal":
        until = max(record.settled.values(), default=None)
    else:
        until = record.settled.get(job.struck)
    return None if until is None else round(until - record.struck, 4)


def _remedy(record: Record, fault: Fault, *, ran: bool, claims: bool) -> str:
    if ran:
        return "" if claims else REMEDIES[fault.needs]
    if record.why in {NOT_A_NAME, NO_FORK_SERVER}:
        return ""
    return "choose another interpreter, or another executor"


def _notes(record: Record, job: DrillJob, done: set[int]) -> Iterator[str]:
    """Yield the remarks that belong beside the figures."""
    if record.ended != "finished":
        yield _short(record.why)
    if record.ended == "unavailable":
        return
    if record.struck is None:
        yield "the fault did not strike"
    innocent = set(record.failed) - done - {job.struck}
    if innocent:
        yield f"other tasks failed too: {_short(record.failed[min(innocent)])}"
    if record.unexpected:
        yield _short(record.unexpected[min(record.unexpected)])
    if record.counted not in {None, (len(done), len(record.failed))}:
        yield f"its own count of (done, failed) is {record.counted}"


def _short(text: str) -> str:
    return text if len(text) <= ERROR_KEPT else f"{text[: ERROR_KEPT - 1]}…"
