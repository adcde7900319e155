"""A scripted executor for tests of code that uses todobatch: it makes chosen batches fail.

    from todobatch.testing import Scripted
    executor = Scripted(breaks={"poison": FOR_EVER})
    report = run_batches(tasks, "validate", executor=executor)

It runs in the calling thread, starts no worker and passes the contract suite of all executors.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

from todobatch.executors import BatchRunner, Capabilities, Executor, WorkerStats
from todobatch.executors.base import Opening, UntilError
from todobatch.executors.stats import CountedResults, CountedRunner
from todobatch.model import Batch, Fault, ProcessingResult
from todobatch.processors.base import failed_result, task_failure
from todobatch.units import Seconds

__all__ = ["FOR_EVER", "Scripted"]

FOR_EVER = 10**9
"""With this number in `Scripted.breaks`, a task breaks its batch each time it is run."""


def _ignore(_batch: Batch) -> None:
    pass


@dataclass
class Scripted(Executor):
    """Reads several batches ahead and returns their results in a random order that `seed` fixes.

    A batch with a task named in `breaks` fails instead of running. Each such failure is one of
    three in turn: the fault ``"crashed"``, the fault ``"deadline"``, or a failure without a fault.
    Deadlines are accepted and never run out by themselves.
    """

    breaks: Mapping[str, int] = field(default_factory=dict)
    """How many times each task breaks its batch, by title."""
    seed: int = 0
    """The seed of the order in which results come back."""
    holds: int = 4
    """How many batches the executor reads ahead."""
    loses: bool = False
    """Whether a fourth kind of failure occurs in turn: no result at all, as from a broken pool."""
    names_tasks: bool = False
    """Whether each failure has a fault and names the first task that broke the batch, as with
    `processes`. The batch's later tasks are then not run."""
    isolates: bool = True
    """Whether the executor's capabilities say that it isolates crashes."""
    on_run: Callable[[Batch], None] = _ignore
    """A function that is called with each batch before it runs; its exceptions reach the caller."""
    runs: Counter[str] = field(default_factory=Counter)
    """How many times each task was run, by title; the executor counts here."""
    most_in_flight: int = 0
    """The largest number of batches that were read ahead at once. The executor sets this."""

    name = "scripted"
    summary = "scripted faults in the calling thread, for tests"

    @property
    def capabilities(self) -> Capabilities:
        """Return capabilities that fit the scripted faults; see `Executor.capabilities`."""
        return Capabilities(isolates_crashes=self.isolates, enforces_deadlines=True)

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start nothing; the number of workers makes no difference."""
        yield CountedRunner(_Script(self, opening).run)


class _Script:
    """The state of one opened executor."""

    def __init__(self, executor: Scripted, opening: Opening) -> None:
        self._executor = executor
        self._worker = opening.worker("scripted-1", "main")
        self._left = dict(executor.breaks)
        self._random = random.Random(executor.seed)
        self._failures = 0
        self._kinds: list[Fault | None] = ["crashed", "deadline"]
        if not executor.names_tasks:
            self._kinds.append(None)

    def run(self, batches: Iterable[Batch]) -> CountedResults:
        feed, more = UntilError(iter(batches)), True
        held: list[Batch] = []
        busy: Seconds = 0.0
        first = perf_counter()
        while more or held:
            while more and len(held) < self._executor.holds:
                batch = next(feed, None)
                more = batch is not None
                if batch is not None:
                    held.append(batch)
            self._executor.most_in_flight = max(self._executor.most_in_flight, len(held))
            if held:
                begun = perf_counter()
                result = self._run_one(held.pop(self._random.randrange(len(held))))
                busy += perf_counter() - begun
                if result is not None:
                    yield result
        if feed.error is not None:
            raise feed.error
        return (WorkerStats(self._worker.label, busy, perf_counter() - first - busy),)

    def _run_one(self, batch: Batch) -> ProcessingResult | None:
        self._executor.on_run(batch)
        poison = [n for n, task in enumerate(batch.tasks) if self._left.get(task.title, 0) > 0]
        names = self._executor.names_tasks
        if poison and names:
            del poison[1:]
        tasks = batch.tasks[: poison[0] + 1] if poison and names else batch.tasks
        self._executor.runs.update(task.title for task in tasks)
        if not poison:
            return self._worker.work(batch)
        for place in poison:
            self._left[batch.tasks[place].title] -= 1
        self._failures += 1
        kind = self._failures % (len(self._kinds) + self._executor.loses)
        if kind == len(self._kinds):
            return None
        fault = self._kinds[kind]
        cause = f"it broke ({fault or 'as a whole'})"
        processor_id = self._worker.processor.processor_id
        result = failed_result(processor_id, batch, cause, fault=fault)
        failures = (task_failure(batch, poison[0], cause),) if names else ()
        return replace(result, failures=failures)
