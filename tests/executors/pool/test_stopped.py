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


def test_only_the_time_in_which_nothing_ran_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
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

    now[0] = 101.0
    pool.note_stop(100.95)  # it was late by less than a tenth of the deadline
    now[0] = 131.5
    pool.note_stop(101.5)  # it should have run at 101.5, and was stopped for 30 s
    pool.kill_overdue()
    assert pool.next_check(131.5) == pytest.approx(131.7)
    assert not killed
    now[0] = 132.1
    pool.kill_overdue()
    assert killed == [132.1]
