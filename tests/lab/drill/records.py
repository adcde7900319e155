"""Made-up records of drilled processes, and the rows that follow from them."""

from collections.abc import Sequence
from typing import Any

from todobatch.child.drill import DrillJob
from todobatch.lab.drill.record import Record
from todobatch.lab.drill.rows import Drill, Row, row_of

TASKS = 60
STRUCK = TASKS // 3


def job(fault: str, *, peer: str | None = None, executor: str = "processes") -> DrillJob:
    return DrillJob(
        executor=executor,
        peer=peer,
        fault=fault,
        struck=STRUCK,
        folder="",
        tasks=TASKS,
        workers=2,
        batch_size=10,
        deadline_s=1.0,
        retries=2,
        backoff_s=0.05,
        watchdog_s=3.0,
    )


def record_of(*, without: Sequence[int] = (), struck: float | None = 10.0) -> Record:
    """Make a record in which most tasks are done, the struck one a second after the strike."""
    record = Record(struck=struck)
    done = [task for task in range(TASKS) if task not in without]
    record.add({"event": "done", "tasks": done, "at": 11.0})
    return record


def rowed(record: Record, fault: str = "killed", *, claims: bool = True, **how: Any) -> Row:
    return row_of(record, job(fault, **how), claims=claims, seconds=2.0)


def drilled(*rows: Row) -> Drill:
    return Drill("3.14t", "3.14.7", False, 2, 2, 10, 1.0, 2, TASKS, 3.0, rows)
