"""A batch gets no fault for what another batch, or the caller, has caused."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from todobatch import Hooks, Recovery, Task, TaskBatchProcessor, run_batches, runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import get, processes
from todobatch.model import Batch, Json, ProcessingResult

BIG = 1_000_000  # more than a socket holds: the worker waits in sending it
DEADLINE_S = 0.3


class Large(TaskBatchProcessor):
    """Returns a row so large that the worker waits until the caller reads it."""

    name = "large"

    def process_task(self, task: Task) -> Json:
        return "x" * BIG


class BreaksAsAWhole(TaskBatchProcessor):
    """Kills its worker in `summarise` if a batch has more than a few rows."""

    name = "breaks-as-a-whole"

    def process_task(self, task: Task) -> Json:
        return task.priority

    def summarise(self, tasks: Sequence[Task], rows: Sequence[Json]) -> Mapping[str, Json]:
        if len(rows) > 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"rows": len(rows)}


def test_a_caller_that_is_slow_costs_no_batch_its_result() -> None:
    waited = threading.Event()

    def slow(batch: Batch, result: ProcessingResult) -> None:
        waited.wait(2 * DEADLINE_S)  # nobody sets it: it lasts longer than a batch may take

    report = run_batches(
        [Task(f"{n}") for n in range(5)], Large(), executor="processes", workers=1, batch_size=1,
        keep_rows=True, hooks=Hooks(on_batch=slow),
        recovery=Recovery(retries=0, deadline_s=DEADLINE_S),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.set_aside, report.replaced) == (5, 0, 0, 0)


def test_an_aggregate_that_kills_its_worker_does_not_kill_the_coordinator() -> None:
    report = run_batches(
        [Task(f"{n}", priority=1 + n % 9) for n in range(10)], BreaksAsAWhole(),
        executor="processes", workers=1, batch_size=10, recovery=Recovery(retries=0),
    )  # fmt: skip
    assert (report.tasks, report.failed, report.set_aside) == (10, 0, 0)
    assert report.result == {"rows": 10}


def test_a_thread_that_cannot_begin_is_an_error_and_no_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(cpu: int) -> None:
        raise OSError(f"CPU {cpu} is offline")

    monkeypatch.setattr(runtime, "stay_on", offline)
    with (
        pytest.raises(ExecutorUnavailableError, match="is offline"),
        get("threads").placed("spread").open(Large(), 3),
    ):
        pass


def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = Task(str(tmp_path / "died"))
    started = processes._Process.__init__
    calls = 0

    def refused_once(self: processes._Process, *args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first replacement
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started(self, *args, **kwargs)

    monkeypatch.setattr(processes._Process, "__init__", refused_once)
    report = run_batches([mark] * 5, DiesOnce(), executor="processes", workers=1, batch_size=1)
    assert (report.tasks, report.failed, report.replaced) == (5, 0, 1)
    assert calls == 3


class DiesOnce(TaskBatchProcessor):
    """Kills its worker on the first task, unless the file named in the title exists."""

    name = "dies-once"

    def process_task(self, task: Task) -> Json:
        try:
            os.close(os.open(task.title, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return 0
        os.kill(os.getpid(), signal.SIGKILL)
        return 1
