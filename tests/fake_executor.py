"""An executor whose faults are scripted: it breaks what holds a given task, so often as told."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from todobatch.executors import Executor
from todobatch.executors.base import BatchRunner, Capabilities
from todobatch.executors.worker import Worker
from todobatch.model import Batch, Fault, Json, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor, failed_result

FOR_EVER = 10**9


class Flaky(TaskBatchProcessor):
    """Fails each task whose title begins with "bad"; sums up priorities."""

    name = "flaky"
    splittable = True

    def process_task(self, task: Task) -> str:
        if task.title.startswith("bad"):
            raise ValueError(task.title)
        return task.title

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> dict[str, Json]:
        return {"rows": len(rows), "priorities": sum(task.priority for task in tasks)}


@dataclass
class Scripted(Executor):
    """Holds several batches at once and gives them back in an order drawn from `seed`.

    A batch with a task in `breaks` does not come back while that task's count is above 0; each
    such run takes one from it. The kinds of fault take turns: crashed, deadline, failed as a whole,
    and (with `loses`) no result at all.
    """

    breaks: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    holds: int = 4
    loses: bool = False
    isolates: bool = True
    on_run: Callable[[Batch], None] = lambda _batch: None
    runs: Counter[str] = field(default_factory=Counter)
    """How often each task was run, by title."""
    most_out: int = 0

    name = "scripted"
    summary = "scripted faults"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            isolates_crashes=self.isolates,
            enforces_deadlines=True,
            needs_pickling=False,
            awaits=False,
            cpu_parallel=False,
        )

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: float | None = None,
    ) -> Iterator[BatchRunner]:
        worker = Worker(processor, "fake-1", "main", keep_rows=keep_rows)
        left = dict(self.breaks)
        dice = random.Random(self.seed)
        turn = 0

        def one(batch: Batch) -> ProcessingResult | None:
            nonlocal turn
            self.on_run(batch)
            self.runs.update(task.title for task in batch.tasks)
            poison = [task.title for task in batch.tasks if left.get(task.title, 0) > 0]
            if not poison:
                return worker.work(batch)
            for title in poison:
                left[title] -= 1
            turn += 1
            faults: list[Fault | None] = ["crashed", "deadline", None]
            kind = turn % (4 if self.loses else 3)
            if kind == 3:
                return None
            cause = f"it broke ({faults[kind] or 'as a whole'})"
            return failed_result(processor.processor_id, batch, cause, fault=faults[kind])

        def run(batches: Iterable[Batch]) -> Iterator[ProcessingResult]:
            feed, more = iter(batches), True
            held: list[Batch] = []
            while more or held:
                while more and len(held) < self.holds:
                    batch = next(feed, None)
                    more = batch is not None
                    if batch is not None:
                        held.append(batch)
                self.most_out = max(self.most_out, len(held))
                if held:
                    result = one(held.pop(dice.randrange(len(held))))
                    if result is not None:
                        yield result

        yield run
