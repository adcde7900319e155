"""A small job with a journal, which every interpreter can run."""

from pathlib import Path
from typing import Any

from todobatch import Hooks, Task, run_batches
from todobatch.coordinator.journal import Journal
from todobatch.job.output import RowFile
from todobatch.model import Json
from todobatch.processors import TaskBatchProcessor

TITLES = ["water the ferns", "sort receipts", "call the plumber", "air the loft", "shelve books"]


class Own(TaskBatchProcessor):
    """Gives back titles, and counts them."""

    name = "own"

    def process_task(self, task: Task) -> str:
        return task.title

    def summarise(self, tasks: Any, rows: Any) -> dict[str, Any]:
        del tasks
        return {"titles": len(rows)}

    def merge(self, left: Any, right: Any) -> dict[str, Any]:
        return {"titles": left["titles"] + right["titles"]}


def run_job(path: Path, out: Path, batches: int | None = None) -> None:
    """Run a job of three batches with a journal, up to some batch, as `todobatch run` does."""
    about: dict[str, Json] = {
        "workload": "own",
        "batch size": 2,
        "today": "2026-01-05",
        "output": str(out),
    }
    with Journal(path, about) as opened:
        rows = RowFile(out, opened)
        try:
            opened.mark_output = rows.mark
            tasks = [Task(title) for title in TITLES][: None if batches is None else 2 * batches]
            run_batches(
                tasks, Own(), executor="sequential", batch_size=2, keep_rows=True, journal=opened,
                hooks=Hooks(on_batch=rows.write),
            )  # fmt: skip
        except BaseException:
            rows.keep_part()
            raise
        if batches is None and opened.phase == "running":
            opened.advance("placing")
        rows.finish(complete=batches is None)
        if batches is None:
            opened.advance("finished")
