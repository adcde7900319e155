"""Makes the tasks of a sample, which are the same for every cell of a workload."""

import datetime as dt
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NotRequired, TypedDict

from todobatch.coordinator.batching import batched
from todobatch.errors import EmptyInputError
from todobatch.files import expanded
from todobatch.model import Batch, Task
from todobatch.processors import TaskBatchProcessor, resolve
from todobatch.sources import generate, open_source

DISTINCT = 5_000
"""At most this many different tasks are generated; a larger sample repeats them as new objects."""


class TaskSource(TypedDict):
    """The source of tasks (``Plan.source``): a seed for the generator, or a file and its format."""

    kind: Literal["generator", "file"]
    seed: NotRequired[int]
    path: NotRequired[str]  # from the current folder, or ~/…
    format: NotRequired[str | None]
    sha256: NotRequired[str]
    tasks: NotRequired[int]
    broken: NotRequired[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a measured process runs, and on which tasks."""

    workload: str
    executor: str
    workers: int
    batches: int
    batch_size: int
    source: TaskSource
    today: dt.date

    def prepare(self) -> tuple[list[Batch], TaskBatchProcessor]:
        """Return the full batches, and the processor that runs them.

        If there are too few tasks, copies of them are added. Every task is an object of its own, as
        in a real job: without a GIL, threads that share an object slow each other down. Raises
        EmptyInputError when the source has no task.
        """
        count = self.batches * self.batch_size
        tasks = list(islice(self._read(), count))
        if not tasks:
            raise EmptyInputError(
                "the input contains no task",
                place=str(self.source.get("path", "generator")),
                remedy="give a file with at least one task",
            )
        packed = pickle.dumps(tasks)
        while len(tasks) < count:
            tasks += pickle.loads(packed)  # noqa: S301 - our own bytes of the line before
        batches = batched(tasks[:count], self.batch_size)
        return list(batches), resolve(self.workload, today=self.today)

    def _read(self) -> Iterable[Task]:
        """Return the source's tasks once, without broken records (`inspect_file` counts them)."""
        source, today = self.source, self.today
        if source.get("kind") != "file":
            return generate(DISTINCT, seed=source.get("seed", 0), today=today)
        path = expanded(source["path"])
        return open_source(path, format=source.get("format"), today=today).read(lambda _: None)
