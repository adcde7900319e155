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
"""A tree of 511 lists."""
HOT_TOUCHES = 300
HOT_SLOTS = 8
HASHED = bytes(range(256)) * 2048
"""512 KiB that `Native` hashes: one object for all tasks, so that no time goes into making it."""
PACKED_BYTES = 32 * 1024
PAGE_BYTES = 4 * 1024
LIGHT_SQUARES = 500
HEAVY_SQUARES = 50 * LIGHT_SQUARES
ONE_IN = 50
"""How rare the heavy tasks of `Skewed` are."""


class Pipeline(TaskBatchProcessor):
    """Validate, process and report in a row. A row is ``[problems, new state, urgency]``.

    A task with problems is not processed: its new state is null, and it is in the report all the
    same, as it would be if the three ran one after the other.
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

    def process_task(self, task: Task) -> Json:
        """The three processors' rows for one task."""
        problems = self._validator.process_task(task)
        state = None if problems else self._processor.process_task(task)
        return [problems, state, self._reporter.process_task(task)]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Each processor's own aggregate under its name."""
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
        return {
            "validate": self._validator.merge(a["validate"], b["validate"]),
            "process": self._processor.merge(a["process"], b["process"]),
            "report": self._reporter.merge(a["report"], b["report"]),
        }

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Finish each processor's aggregate."""
        return {
            "validate": self._validator.finish(partial.get("validate", {})),
            "process": self._processor.finish(partial.get("process", {})),
            "report": self._reporter.finish(partial.get("report", {})),
        }


class Example8(TaskBatchProcessor):
    """The source document's reference load: 5,000 squares a task, 1,000 integers more when done."""

    name = "example8"

    def process_task(self, task: Task) -> Json:
        """Sum the squares, and the integers when the task is done."""
        total = sum(i * i for i in range(5_000))
        if task.done:
            total += sum(range(1_000))
        return total


class IoWait(TaskBatchProcessor):
    """Waits 5 ms a task, as for a remote answer: sleeping, or awaiting in an event loop."""

    name = "io-wait"

    def process_task(self, task: Task) -> Json:
        """Wait, and give the length of the answer."""
        time.sleep(IO_WAIT_S)
        return len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """The same, leaving the event loop to others meanwhile."""
        await asyncio.sleep(IO_WAIT_S)
        return len(task.title)


class Hybrid(TaskBatchProcessor):
    """Computes (4,000 squares) and then waits 1 ms, a task."""

    name = "hybrid"

    def process_task(self, task: Task) -> Json:
        """Compute, then wait."""
        total = _squares(HYBRID_SQUARES)
        time.sleep(HYBRID_WAIT_S)
        return total + len(task.title)

    async def process_task_async(self, task: Task) -> Json:
        """The same, awaiting."""
        total = _squares(HYBRID_SQUARES)
        await asyncio.sleep(HYBRID_WAIT_S)
        return total + len(task.title)


class Alloc(TaskBatchProcessor):
    """Makes and drops small objects: a tree of 511 lists and as many strings, a task."""

    name = "alloc"

    def process_task(self, task: Task) -> Json:
        """Build the tree, walk it once, and give the length of its labels."""
        return _length_of(_tree(TREE_DEPTH, task.title))


def _tree(depth: int, label: str) -> list[Any]:
    if depth == 0:
        return [label, None, None]
    return [label, _tree(depth - 1, f"{label}l"), _tree(depth - 1, f"{label}r")]


def _length_of(tree: list[Any] | None) -> int:
    return 0 if tree is None else len(tree[0]) + _length_of(tree[1]) + _length_of(tree[2])


class Hot:
    """One object that everybody changes. `lock` guards `touches` and `slots`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.touches = 0
        self.slots = [0] * HOT_SLOTS

    def touch(self, slot: int) -> None:
        """Count one more, in all and in a slot."""
        with self.lock:
            self.touches += 1
            self.slots[slot] += 1


HOT = Hot()
"""The one of this process, or of this interpreter in it: only threads truly share it."""


class HotObject(TaskBatchProcessor):
    """Changes one shared object 300 times a task, each time under its one lock.

    Nothing is left to do side by side, so that threads without a GIL hand lock, counts and
    reference counts from CPU to CPU and get slower than one thread. Processes and subinterpreters
    have a copy each. What the object holds depends on who shares it, so it is not in the output.
    """

    name = "hot-object"

    def process_task(self, task: Task) -> Json:
        """Touch the object; a row is the sum of the slots that were touched."""
        slot, total = zlib.crc32(task.title.encode("utf-8", "surrogatepass")), 0
        for n in range(HOT_TOUCHES):
            place = (slot + n) % HOT_SLOTS
            HOT.touch(place)
            total += place
        return total


class Native(TaskBatchProcessor):
    """Hashes 512 KiB and compresses 32 KiB a task, in C code that lets go of the GIL."""

    name = "native"

    def process_task(self, task: Task) -> Json:
        """A row is the hash of the title, the constant bytes, and what was packed and unpacked.

        Not of what was packed: that may differ between versions of zlib.
        """
        title = task.title.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(title)
        digest.update(HASHED)
        text = (title or b"-") * (PACKED_BYTES // max(len(title), 1) + 1)
        digest.update(zlib.decompress(zlib.compress(text[:PACKED_BYTES], 1)))
        return digest.hexdigest()[:32]


class Payload(TaskBatchProcessor):
    """Writes a page of 4 KiB a task and hands all pages to the caller: results worth copying.

    The pages travel in the batch's aggregate, as rows do only when they are kept; the caller checks
    them and lets them go. What goes in is as large as the tasks are.
    """

    name = "payload"
    summary_is_safe = True

    def process_task(self, task: Task) -> Json:
        """The page: the title, set again and again."""
        line = f"{task.title} · {task.priority}\n"
        return (line * (PAGE_BYTES // len(line) + 1))[:PAGE_BYTES]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """How many pages, and the pages themselves."""
        del tasks
        text = "".join(row for row in rows if isinstance(row, str))
        return {"pages": len(rows), "characters": 0, "check": 0, "text": text}

    def merge(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
        """Add what was counted and checked; the pages are not kept."""
        a, b = self.finish(a), self.finish(b)
        return {
            "pages": a["pages"] + b["pages"],
            "characters": a["characters"] + b["characters"],
            "check": (a["check"] + b["check"]) % (1 << 32),
        }

    def finish(self, partial: Mapping[str, Any]) -> dict[str, Any]:
        """Pages, characters, and the sum of the batches' CRC-32, which no order changes."""
        text = partial.get("text", "")
        check = zlib.crc32(text.encode("utf-8", "surrogatepass"))
        return {
            "pages": partial.get("pages", 0),
            "characters": partial.get("characters", 0) + len(text),
            "check": (partial.get("check", 0) + check) % (1 << 32),
        }


class Skewed(TaskBatchProcessor):
    """Sums 500 squares a task, and 25,000 for one in 50: those fall where their titles put them."""

    name = "skewed"

    def process_task(self, task: Task) -> Json:
        """Sum the squares; how many depends on the title alone."""
        return _squares(HEAVY_SQUARES if is_heavy(task) else LIGHT_SQUARES)


def is_heavy(task: Task) -> bool:
    """Whether `Skewed` has fifty times the work with it."""
    return zlib.crc32(task.title.encode("utf-8", "surrogatepass")) % ONE_IN == 0


def _squares(count: int) -> int:
    return sum(i * i for i in range(count))


class FunctionProcessor(TaskBatchProcessor):
    """A user's function of one task. What it returns must be JSON; an ``async def`` is awaited."""

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
        """Call the function; an ``async def`` gets an event loop of its own."""
        result: Json = asyncio.run(self._function(task)) if self._awaits else self._function(task)
        return result

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """As the base class does, with one event loop for the whole batch where one is needed."""
        if self._awaits:
            return asyncio.run(self.process_batch_async(tasks))
        return super().process_batch(tasks)

    async def process_task_async(self, task: Task) -> Json:
        """Call the function and await what it gives when it is an ``async def``."""
        result = self._function(task)
        return await result if self._awaits else result  # type: ignore[no-any-return]

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        """Rows counted; rows that are true or false are counted apart."""
        del tasks
        booleans = [row for row in rows if isinstance(row, bool)]
        counts: dict[str, Json] = {"rows": len(rows)}
        return merge_counts(counts, {"true": sum(booleans)}) if booleans else counts
