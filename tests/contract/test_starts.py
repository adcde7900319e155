"""A worker that does not start is an error with a remedy, and leaves no process behind."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import contract_work
import pytest

from todobatch import run_batches
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import EXECUTORS, Executor
from todobatch.executors.base import THREADS_NAME
from todobatch.executors.pool.executor import PoolExecutor
from todobatch.executors.pool.supervise import START_ATTEMPTS
from todobatch.executors.processes import Processes
from todobatch.sources import generate

POOLED = [
    name
    for name, each in EXECUTORS.items()
    if isinstance(each, PoolExecutor) and not each.available()
]


@pytest.fixture(params=POOLED)
def pooled(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Path]:
    """Yield the path of a file that lets hanging workers end; make the file after the test."""
    path = tmp_path / "go"
    yield path
    path.touch()
    while [each for each in threading.enumerate() if each.name == f"{THREADS_NAME}interpreter"]:
        os.sched_yield()  # the test's watchdog bounds it


def test_a_start_that_hangs_is_an_error(
    pooled: Executor, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("todobatch.executors.pool.supervise.START_TIMEOUT_S", 0.5)
    with (
        pytest.raises(ExecutorUnavailableError, match=r"it was not ready after 3\.5 s"),
        pooled.open(contract_work.NeverUp(str(go)), 3),
    ):
        pass


def test_a_worker_that_is_killed_while_it_starts_is_replaced(tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.touch()
    report = run_batches(
        generate(20), contract_work.KillsOneStart(str(order)), executor="processes", batch_size=5
    )
    assert not order.exists()
    assert (report.tasks, report.failed) == (20, 0)


SCRIPT = """
import os, resource, sys
from todobatch import run_batches
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import EXECUTORS
from todobatch.processors import resolve

def opened():
    return len(os.listdir("/proc/self/fd"))

if __name__ == "__main__":
    executor, work = EXECUTORS[sys.argv[1]], resolve("validate")
    with executor.open(work, 1):
        pass  # whatever is opened once only is open now
    before = opened()
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        with executor.open(work, 200):
            print("they are up")
    except ExecutorUnavailableError as error:
        print(error)
    print(opened() - before, "left open")
    with executor.open(work, 2):
        print("two are fine")
"""


def test_more_workers_than_descriptors_are_an_error_and_nothing_is_left_open(
    pooled: Executor, tmp_path: Path
) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    done = subprocess.run(
        [sys.executable, str(script), pooled.name],
        check=False, capture_output=True, text=True, timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "did not start: OSError: [Errno 24] Too many open files" in done.stdout
    assert "remedy: use fewer workers, or raise the limit on open files (ulimit -n)" in done.stdout
    *_, left_open, fine = done.stdout.splitlines()
    assert fine == "two are fine"
    # multiprocessing forgets one pipe when it has no descriptor for a second one: see its
    # `ForkServer.connect_to_new_process`. Each worker is tried to be started three times.
    most = 2 * START_ATTEMPTS if pooled.name == "processes" else 0
    assert int(left_open.removesuffix(" left open")) <= most


@pytest.mark.parametrize(
    ("cause", "limit"),
    [
        ("OSError: [Errno 24] Too many open files", "ulimit -n"),
        ("OSError: [Errno 12] Cannot allocate memory", "ulimit -v"),
        ("RuntimeError: can't start new thread", "ulimit -u"),
        ("it was killed (SIGKILL)", "must pickle"),
    ],
)
def test_the_remedy_names_the_limit_that_was_reached(cause: str, limit: str) -> None:
    assert limit in Processes().did_not_start(cause).remedy
