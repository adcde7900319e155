"""The command that runs a cell by itself, for the remedies of errors."""

from shlex import join

from todobatch.child.tasks import TaskSource
from todobatch.files import expanded
from todobatch.lab.store.schema import Cell

TASKS = 100
"""The number of generated tasks."""


def run_command(cell: Cell, source: TaskSource, batch_size: int | None = None) -> str:
    """Return the `todobatch run` of a cell's workload and tasks, quoted for a shell."""
    if source.get("kind") == "file":
        words = [str(expanded(source["path"]))]
        words += ["--format", name] if (name := source.get("format")) else []
    else:
        words = ["--generate", str(TASKS), "--seed", str(source.get("seed", 0))]
    words += ["--workload", cell.workload, "--executor", cell.executor]
    words += ["--workers", str(cell.workers)] if cell.workers > 1 else []
    words += ["--interpreter", str(expanded(cell.interpreter))]
    words += ["--batch-size", str(batch_size)] if batch_size is not None else []
    return join(["todobatch", "run", *words])
