"""Made-up tasks, processors and executors, and runs of them."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, run_batches
from todobatch.executors import Executor
from todobatch.executors.base import BatchRunner, Capabilities, Opening
from todobatch.model import Batch, BatchReport, Json, ProcessingResult, TaskFailure
from todobatch.processors import TaskBatchProcessor
from todobatch.testing import Scripted

AT_ONCE = Recovery(backoff_s=0.0)


def named(number: int, bad: set[int] = frozenset()) -> list[Task]:  # type: ignore[assignment]
    """Make tasks with numbered titles; those in `bad` raise an exception."""
    return [Task(f"bad {n}" if n in bad else f"task {n}", 1 + n % 10) for n in range(number)]


def run(
    tasks: list[Task],
    executor: Scripted,
    size: int = 10,
    processor: TaskBatchProcessor | None = None,
    *,
    recovery: Recovery = AT_ONCE,
    stop: Callable[[], bool] | None = None,
    **more: Any,
) -> tuple[BatchReport, list[tuple[Batch, ProcessingResult]]]:
    seen: list[tuple[Batch, ProcessingResult]] = []
    report = run_batches(
        tasks, processor or Flaky(), executor=executor, batch_size=size, keep_rows=True,
        recovery=recovery,
        hooks=Hooks(on_batch=lambda batch, result: seen.append((batch, result)), stop=stop),
        **more,
    )  # fmt: skip
    return report, seen


def as_if_failed(tasks: list[Task], poison: set[int], size: int) -> BatchReport:
    """Run the same tasks, of which those in `poison` raise an exception instead."""
    changed = [
        Task(f"bad {task.title}", task.priority) if n in poison else task
        for n, task in enumerate(tasks)
    ]
    return run_batches(changed, Flaky(), executor="sequential", batch_size=size)


class Took(Flaky):
    """Reports a made-up time for each task."""

    splittable = True

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def result_of(
        self, batch: Batch, rows: list[Json], failures: list[TaskFailure], started: float
    ) -> ProcessingResult:
        result = super().result_of(batch, rows, failures, started)
        return replace(result, duration=self.seconds * len(batch))


class Slow(Took):
    """Reports 2 ms for each task; its aggregate depends on how it was rounded."""

    splittable = True

    def __init__(self) -> None:
        super().__init__(0.002)

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"thirds": sum(task.priority / 3 for task in tasks)}


@dataclass
class Virtual(Executor):
    """Simulates workers that take the seconds in `takes`, on a simulated clock."""

    takes: Mapping[int, float]
    makespan: float = 0.0
    """When the last worker was done."""
    order: list[int] = field(default_factory=list)

    name = "virtual"
    summary = "made-up time"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(isolates_crashes=True, cpu_parallel=True)

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        worker = opening.worker("virtual-1", "main")

        def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
            feed, now, more = iter(batches), 0.0, True
            busy: list[tuple[float, int, Batch]] = []
            while more or busy:
                while more and len(busy) < opening.workers:
                    batch = next(feed, None)
                    more = batch is not None
                    if batch is not None:
                        self.order.append(batch.index)
                        heapq.heappush(busy, (now + self.takes[batch.index], batch.index, batch))
                if busy:
                    now, index, batch = heapq.heappop(busy)
                    yield replace(worker.work(batch), duration=self.takes[index])
            self.makespan = now

        yield run


def cut(sizes: Sequence[int], bad: Iterable[int] = ()) -> list[Batch]:
    """Make batches of these sizes; the tasks in `bad` raise an exception."""
    batches, first = [], 0
    for index, size in enumerate(sizes):
        tasks = (
            Task(f"bad {n}" if n in bad else f"task {n}", 1 + n % 10)
            for n in range(first, first + size)
        )
        batches.append(Batch(index, tuple(tasks), first))
        first += size
    return batches


JOB: dict[str, Json] = {"generate": 60, "workload": "flaky", "today": "2026-11-24"}


RUN = ["run", "--generate", "3000", "--journal", "j.db", "--output", "out.jsonl", "--json"]
