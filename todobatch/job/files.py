"""Opens a job's journal and costs, unless the job uses the file for something else."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from todobatch.errors import StoreError, UnavailableError, UsageError
from todobatch.files import TemporaryFolder, low_numbers_taken
from todobatch.ipc.decoding import from_json, to_json
from todobatch.job.beside import resolved
from todobatch.job.code import code_of
from todobatch.job.output import refuse_shared
from todobatch.job.spec import Job, JobReport
from todobatch.model import Json
from todobatch.sources import open_source

if TYPE_CHECKING:
    from todobatch.coordinator.costs import Costs
    from todobatch.coordinator.journal import Journal


def open_journal(job: Job) -> "Journal | None":
    """Open and lock the job's journal; returns None when it has none.

    Raises UnavailableError without SQLite, UsageError for a file that the job also uses for
    something else, and what `Journal` raises.
    """
    if job.journal is None:
        return None
    try:
        from todobatch.coordinator.journal import Journal
    except ImportError as error:
        raise UnavailableError(
            f"this Python has no SQLite: {error}",
            place="`journal`",
            remedy="choose another `interpreter`, or run without `journal`",
        ) from error
    resolved("journal", job.journal)  # raises a plain error in a folder that has been removed
    refuse_shared("journal", job.journal, {"input": job.input, "output": job.output})
    identity = _identity(job)
    with low_numbers_taken():  # because user code may write to a low one
        return Journal(
            job.journal,
            identity,
            changed_code=job.changed_code,
            retry_failed=job.recovery.retry_failed,
        )


def open_costs(job: Job) -> "Costs | None":
    """Open the job's file of costs; returns None when it has none.

    Raises UsageError for a file that the job also uses for something else, and what `Costs` raises.
    """
    if job.costs is None:
        return None
    from todobatch.coordinator.costs import Costs

    used = {"input": job.input, "output": job.output, "journal": job.journal}
    refuse_shared("costs", job.costs, used)
    path = resolved("costs", job.costs)  # a task may change the working folder
    return Costs(path, batch_size=job.tasks_a_batch)


def _identity(job: Job) -> dict[str, Json]:
    """Return what a resumed job must have in common with the earlier one."""
    about: dict[str, Json] = {
        "workload": job.workload,
        "batch size": job.tasks_a_batch,
        "output": None if job.output is None else str(resolved("output", job.output)),
        "today": job.today.isoformat(),
        "code": {**code_of(job.workload)},
    }
    if job.input is None:
        return about | {"generate": job.generate, "seed": job.seed}
    path = Path(job.input)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", place=str(path), remedy="check the path"
        ) from error
    return about | {
        "input": job.input_name or str(path), "input's bytes": size, "input's sha256": digest,
        "format": open_source(path, format=job.format).name,
    }  # fmt: skip


def read_finished(journal: "Journal") -> tuple[JobReport, list[dict[str, Any]]]:
    """Return the report of a finished job and its first broken records, as its journal has them.

    It also sweeps the folder of a run that was killed at its very end, because no other run will.
    Raises StoreError for a report that is not that of the journal's totals.
    """
    with suppress(OSError):
        TemporaryFolder("processes", short=True).remove()
    saved, tally = journal.report or {}, journal.tally or {}
    try:
        report = from_json(JobReport, saved.get("report"))
        records = [to_json(from_json(_Broken, each)) for each in saved.get("skipped", [])]
    except (UsageError, TypeError) as error:
        raise journal.damaged("its report cannot be read") from error
    if any(getattr(report, name) != tally.get(name) for name in ("tasks", "failed", "batches")):
        raise journal.damaged("its report and its totals do not agree")
    return report, records


@dataclass(frozen=True, slots=True)
class _Broken:
    """A broken record of the input."""

    file: str
    line: int
    cause: str
