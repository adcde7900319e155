"""Workloads with a known cost profile, and the wrapper for a user's own function."""

import asyncio
import datetime as dt
import hashlib
import inspect
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor, merge_counts
from todobatch.processors.processor import TaskProcessor
from todobatch.processors.reporter import TaskReporter
from todobatch.processors.validator import TaskValidator

IO_WAIT_S = 0.005
HYBRID_WAIT_S = 0.001
HYBRID_SQUARES = 4_000
TREE_DEPTH = 8
"""The depth of the tree that `Alloc` builds: 511 lists."""
HOT_TOUCHES = 300
HOT_SLOTS = 8
HASHED = bytes(range(256)) * 2048
"""The 512 KiB that `Native` hashes for each task."""
PACKED_BYTES = 32 * 1024
PAGE_BYTES = 4 * 1024
LIGHT_SQUARES = 500
HEAVY_SQUARES = 50 * LIGHT_SQUARES
ONE_IN = 50
"""One task in this many is heavy for `Skewed`."""


class Pipeline(TaskBatchProcessor):
    """Runs the processors validate, process and report on each task.

    A row is ``[problems, new state, urgency]``. A task with problems is not processed, so its new
    state is null; it still counts in the report.
    """

    name = "pipeline"
    summary_is_safe = True

    def __init__(
        self, processor_id: str | int | None = None, *, today: dt.date | None = None
    ) -> None:
        super().__init__(processor_id, today=today)
        self._validator = TaskValidator(today=self.today)
        self._processor = TaskProcessor(today=self.today)
        self._reporter = TaskReporter(today=self.today)
        self._all = (self._validator, self._processor, self._reporter)

    def process_task(self, task: Task) -> Json:
        """Return the rows of the three processors for one task."""
        problems = self._validator.process_task(task)
        state = None if problems else self._processor.process_task(task)
        return [problems, state, self._reporter.process_task(task)]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Return the aggregate of each processor under its name."""
        columns = [[row[i] for row in rows if isinstance(row, list)] for i in range(3)]
        sound = [
            (task, state)
            for task, state in zip(tasks, columns[1], strict=True)
            if state is not None
        ]
        return {
            "validate": dict(self._validator.summarise(tasks, columns[0])),
            "process": dict(
                self._processor.summarise([task for task, _ in sound], [row for _, row in sound])
            ),
            "report": dict(self._reporter.summarise(tasks, columns[2])),
        }

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Merge each processor's aggregate by its own rule."""
        if not a or not b:
            return dict(a or b)
        return {each.name: each.merge(a[each.name], b[each.name]) for each in self._all}

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Finish each processor's aggregate."""
        return {each.name: each.finish(partial.get(each.name, {})) for each in self._all}


class Example8(TaskBatchProcessor):
    """The reference load: sums 5,000 squares a task, and 1,000 integers more if it is done."""

    name = "example8"

    def process_task(self, task: Task) -> Json:
        """Sum the squares, and the integers when the task is done."""
        total = sum(i * i for i in range(5_000))
        if task.done:
            total += sum(range(1_000))
        return total


class IoWait(TaskBatchProcessor):
    """Sleeps 5 ms for each task, like a request to a remote service."""

    name = "io-wait"

    def process_task(self, task: Task) -> Json:
        """Sleep, and return the length of the title."""
        time.sleep(IO_WAIT_S)
        return len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """Await 5 ms, and return the length of the title."""
        await asyncio.sleep(IO_WAIT_S)
        return len(task.title)


class Hybrid(TaskBatchProcessor):
    """Sums 4,000 squares and then sleeps 1 ms, for each task."""

    name = "hybrid"

    def process_task(self, task: Task) -> Json:
        """Compute, then sleep."""
        total = _squares(HYBRID_SQUARES)
        time.sleep(HYBRID_WAIT_S)
        return total + len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """Compute, then await."""
        total = _squares(HYBRID_SQUARES)
        await asyncio.sleep(HYBRID_WAIT_S)
        return total + len(task.title)


class Alloc(TaskBatchProcessor):
    """Creates and frees a tree of 511 lists and as many strings for each task."""

    name = "alloc"

    def process_task(self, task: Task) -> Json:
        """Build the tree, walk it once, and return the total length of its labels."""
        return _length_of(_tree(TREE_DEPTH, task.title))


def _tree(depth: int, label: str) -> list[Any]:
    if depth == 0:
        return [label, None, None]
    return [label, _tree(depth - 1, f"{label}l"), _tree(depth - 1, f"{label}r")]


def _length_of(tree: list[Any] | None) -> int:
    return 0 if tree is None else len(tree[0]) + _length_of(tree[1]) + _length_of(tree[2])


class Hot:
    """An object that all threads change. `lock` guards `touches` and `slots`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.touches = 0
        self.slots = [0] * HOT_SLOTS

    def touch(self, slot: int) -> None:
        """Add one to the total and to a slot."""
        with self.lock:
            self.touches += 1
            self.slots[slot] += 1


HOT = Hot()
"""The object that `HotObject` changes: one for each process or subinterpreter."""


class HotObject(TaskBatchProcessor):
    """Changes one shared object 300 times a task, each time under its one lock.

    Threads without a GIL are slower than one thread, because the lock and the counts move from CPU
    to CPU. Each process and subinterpreter has its own copy. The output does not depend on it.
    """

    name = "hot-object"

    def process_task(self, task: Task) -> Json:
        """Change the object 300 times, and return the sum of the numbers of the changed slots."""
        slot, total = zlib.crc32(task.title.encode("utf-8", "surrogatepass")), 0
        for n in range(HOT_TOUCHES):
            place = (slot + n) % HOT_SLOTS
            HOT.touch(place)
            total += place
        return total


class Native(TaskBatchProcessor):
    """Hashes 512 KiB and compresses 32 KiB a task, in C code that releases the GIL."""

    name = "native"

    def process_task(self, task: Task) -> Json:
        """Return a hash of the title, the constant bytes, and a text packed and unpacked again.

        The packed form is not hashed, because it may differ between versions of zlib.
        """
        title = task.title.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(title)
        digest.update(HASHED)
        text = (title or b"-") * (PACKED_BYTES // max(len(title), 1) + 1)
        digest.update(zlib.decompress(zlib.compress(text[:PACKED_BYTES], 1)))
        return digest.hexdigest()[:32]


class Payload(TaskBatchProcessor):
    """Returns a page of 4 KiB for each task to the caller: large results that must be copied.

    The pages are part of the batch's aggregate, because rows are not always kept. The caller adds
    their length to a count and drops them.
    """

    name = "payload"
    summary_is_safe = True

    def process_task(self, task: Task) -> Json:
        """Return the page: the title, repeated."""
        line = f"{task.title} · {task.priority}\n"
        return (line * (PAGE_BYTES // len(line) + 1))[:PAGE_BYTES]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Return the number of pages and their text."""
        del tasks
        text = "".join(row for row in rows if isinstance(row, str))
        return {"pages": len(rows), "characters": 0, "check": 0, "text": text}

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Add counts and checksums, and drop the pages."""
        merged = merge_counts(self.finish(a), self.finish(b))
        return merged | {"check": merged["check"] % (1 << 32)}

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pages, the characters, and the sum of the batches' CRC-32 modulo 2**32."""
        text = partial.get("text", "")
        check = zlib.crc32(text.encode("utf-8", "surrogatepass"))
        return {
            "pages": partial.get("pages", 0),
            "characters": partial.get("characters", 0) + len(text),
            "check": (partial.get("check", 0) + check) % (1 << 32),
        }


class Skewed(TaskBatchProcessor):
    """Sums 500 squares for most tasks, and 25,000 for one in 50, chosen by its title."""

    name = "skewed"

    def process_task(self, task: Task) -> Json:
        """Sum the squares; their number depends on the title alone."""
        return _squares(HEAVY_SQUARES if is_heavy(task) else LIGHT_SQUARES)


def is_heavy(task: Task) -> bool:
    """Return whether `Skewed` does fifty times the work for this task."""
    return zlib.crc32(task.title.encode("utf-8", "surrogatepass")) % ONE_IN == 0


def _squares(count: int) -> int:
    return sum(i * i for i in range(count))


class FunctionProcessor(TaskBatchProcessor):
    """Runs a user's function on each task. It must return JSON; an ``async def`` is awaited."""

    name = "function"
    splittable = True

    def __init__(
        self,
        function: Callable[[Task], Any],
        processor_id: str | int | None = None,
        *,
        today: dt.date | None = None,
    ) -> None:
        super().__init__(processor_id or f"{function.__module__}:{function.__qualname__}",
                         today=today)  # fmt: skip
        self._function = function
        self._awaits = inspect.iscoroutinefunction(function)

    def process_task(self, task: Task) -> Json:
        """Call the function; an ``async def`` runs in a new event loop."""
        result: Json = asyncio.run(self._function(task)) if self._awaits else self._function(task)
        return result

    def _process_each(self, batch: Batch, progress: memoryview | None = None) -> ProcessingResult:
        """Process a batch; an ``async def`` runs in one event loop for the whole batch."""
        if self._awaits:
            return asyncio.run(self.process_batch_async(batch))
        return super()._process_each(batch, progress)

    @property
    def awaits(self) -> bool:
        """Whether the function is an ``async def``."""
        return self._awaits

    async def process_task_async(self, task: Task) -> Json:
        """Call the function, and await its result if it is an ``async def``."""
        result = self._function(task)
        return await result if self._awaits else result  # type: ignore[no-any-return]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Count the rows; if some are booleans, also count those that are true."""
        del tasks
        booleans = [row for row in rows if isinstance(row, bool)]
        counts: dict[str, Json] = {"rows": len(rows)}
        return merge_counts(counts, {"true": sum(booleans)}) if booleans else counts
