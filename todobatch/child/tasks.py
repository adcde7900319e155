"""Makes the tasks of a sample, which are the same for every cell of a workload."""

import datetime as dt
import pickle
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from todobatch.errors import BrokenLineError, EmptyInputError
from todobatch.model import Batch, Task
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


def batches_of(source: TaskSource, batches: int, batch_size: int, *, today: dt.date) -> list[Batch]:
    """Return `batches` full batches, repeating copies of the tasks if there are too few.

    Every task is an object of its own, as in a real job: without a GIL, threads that share an
    object slow each other down. Raises EmptyInputError when the source has no task.
    """
    count = batches * batch_size
    tasks = list(islice(read(source, today=today), count))
    if not tasks:
        raise EmptyInputError(
            "the input contains no task",
            place=str(source.get("path", "generator")),
            remedy="give a file with at least one task",
        )
    packed = pickle.dumps(tasks)
    while len(tasks) < count:
        tasks += pickle.loads(packed)  # noqa: S301 - our own bytes of the line before
    del tasks[count:]
    return [
        Batch(
            index, tuple(tasks[index * batch_size : (index + 1) * batch_size]), index * batch_size
        )
        for index in range(batches)
    ]


def read(source: TaskSource, *, today: dt.date) -> Iterator[Task]:
    """Return the source's tasks once, without broken records (`inspect_file` counts them)."""
    if source["kind"] == "generator":
        return generate(DISTINCT, seed=source.get("seed", 0), today=today)
    path = Path(source["path"]).expanduser()
    return iter(open_source(path, format=source.get("format"), today=today).read(_ignore))


def count(tasks: Iterable[Task]) -> int:
    """Return how many tasks there are, by reading all of them."""
    return sum(1 for _ in tasks)


def _ignore(broken: BrokenLineError) -> None:
    del broken
