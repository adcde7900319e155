"""Deadlines of a pool whose process was stopped, as in a container that is paused."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.pool import supervise
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.supervise import Supervisor
from todobatch.executors.pool.worker import PoolWorker

JOB = """
import sys, time
from todobatch import Hooks, Recovery, Task, run_batches
def work(task):
    time.sleep(0.3)
    return task.title

if __name__ == "__main__":
    report = run_batches(
        [Task(f"task {n}") for n in range(8)], work, executor="processes", workers=2, batch_size=1,
        recovery=Recovery(deadline_s=5.0),
        hooks=Hooks(on_batch=lambda *_: print("a batch is done", flush=True)),
    )
    print(report.tasks, report.failed, report.replaced, report.retried)
"""


@pytest.mark.thread_unsafe(reason="four such jobs at once are late by themselves")
@pytest.mark.timeout(300)
def test_a_job_that_was_stopped_for_longer_than_its_deadline_finishes(tmp_path: Any) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(5.5)  # longer than the deadline
        os.killpg(process.pid, signal.SIGCONT)
        last = process.communicate(timeout=200)[0].splitlines()[-1]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert last == "8 0 0 0"


def pool_with_a_batch_since_100(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Supervisor, list[float], list[float]]:
    """Return a pool with a deadline of 2 s, its clock, and when its worker was killed."""
    now = [100.0]
    monkeypatch.setattr(supervise, "perf_counter", lambda: now[0])
    killed: list[float] = []
    worker = SimpleNamespace(
        ready=True, overdue=None, step_began=lambda _: 100.0,
        page=SimpleNamespace(running=lambda: (1, Page.IDLE + 1, 100.0)),
        host=SimpleNamespace(kill=lambda: killed.append(now[0])),
    )  # fmt: skip

    def refuse(cause: str) -> ExecutorUnavailableError:
        raise AssertionError(cause)

    pool = Supervisor(lambda _: pytest.fail("no worker may be started"), 1, (), refuse, 2.0)
    pool.workers.append(cast("PoolWorker", worker))
    return pool, now, killed


def test_only_the_time_in_which_nothing_ran_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, now, killed = pool_with_a_batch_since_100(monkeypatch)
    now[0] = 101.0
    assert pool.next_check() == pytest.approx(0.2)  # a tenth of the deadline
    now[0] = 101.3
    pool.note_wait(0.2)  # it was late by less than that
    assert pool.next_check() == pytest.approx(0.2)
    now[0] = 131.5
    pool.note_wait(0.2)  # it should have run at 101.5, and was stopped for 30 s
    pool.kill_overdue()
    assert not killed
    now[0] = 131.9
    assert pool.next_check() == pytest.approx(0.1)  # 2 s of its own, and the stop, are over at 132
    now[0] = 135.0  # for longer than the deadline it was stopped, or busy
    pool.kill_overdue()
    assert not killed
    now[0] = 139.0  # the longer one of two pauses is taken off: the batch may hang
    pool.kill_overdue()
    assert killed == [139.0]


def test_a_batch_runs_on_while_the_caller_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, now, killed = pool_with_a_batch_since_100(monkeypatch)
    now[0] = 101.9
    pool.note_pause()  # it handled a result for less than the deadline
    now[0] = 102.1
    pool.kill_overdue()
    assert killed == [102.1]
