"""Samples of a block are forks of one nursery, each block has its own, and none is left."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from todobatch.errors import MeasurementError
from todobatch.lab.interpreters import Interpreter, worker_environment
from todobatch.lab.measure.nursery import Nursery
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.store.schema import Cell, Sample, WorkloadShape

pytestmark = pytest.mark.interpreters

# What a process was given by lot: where code stands, and how strings hash.
DRAW = """
import pathlib

FILE = pathlib.Path(__file__).with_name("draws")


def tell(task):
    if not hasattr(tell, "told"):
        tell.told = True
        with FILE.open("a") as file:
            file.write(f"{id(object)} {hash('todobatch')}\\n")
    return len(task.title)
"""


@pytest.fixture
def sampler(interpreters: dict[str, Interpreter]) -> Iterator[Sampler]:
    taking = Sampler(interpreters, {"kind": "generator", "seed": 5}, "2026-11-24", timeout_s=60.0)
    gc.collect()  # nobody else's nursery is alive
    yield taking
    taking.close()


def take(sampler: Sampler, workload: str, *, block: int = 0, interpreter: str = "3.14") -> Sample:
    cell = Cell(workload, interpreter, "sequential", 1)
    return sampler.take(Slot(block, 0, cell), WorkloadShape(workload, 2, 5), number=0)


@pytest.mark.parametrize("interpreter", ["3.14", "3.14t"])
def test_samples_of_a_block_have_one_layout_and_another_block_has_another(
    sampler: Sampler, mine: str, interpreter: str
) -> None:
    module = Path.cwd() / "draws_lots.py"
    module.write_text(DRAW)
    for block in (0, 0, 1, 1):
        sample = take(sampler, "draws_lots:tell", block=block, interpreter=interpreter)
        assert sample.void is None
    first, second, third, fourth = (Path.cwd() / "draws").read_text().splitlines()
    assert first == second
    assert third == fourth
    assert first != third


def test_each_sample_is_a_process_of_its_own_that_has_run_nothing(
    sampler: Sampler, mine: str
) -> None:
    (Path.cwd() / "leaves_traces.py").write_text(
        "import builtins\n\n\ndef trace(task):\n"
        "    before = getattr(builtins, 'trace', 0)\n"
        "    builtins.trace = before + 1\n"
        "    if before >= 10 + 2 * 4:\n"  # its own tasks, and those of the warm-up
        "        raise RuntimeError('somebody was here before')\n"
        "    return 0\n"
    )
    pids = set()
    for _ in range(3):
        sample = take(sampler, "leaves_traces:trace")
        assert sample.void is None
        pids |= {worker["pid"] for worker in sample.worker_totals}
    assert len(pids) == 3


def test_a_nursery_that_is_killed_costs_one_sample(sampler: Sampler, mine: str) -> None:
    others = {each.pid for each in _nurseries()}
    assert take(sampler, f"{mine}:length").void is None
    (nursery,) = [each for each in _nurseries() if each.pid not in others]
    nursery.kill()
    void = take(sampler, f"{mine}:length").void
    assert void is not None
    assert "the parent process of the samples was killed (SIGKILL)" in void
    assert take(sampler, f"{mine}:length").void is None


def test_a_nursery_that_dies_during_a_sample_costs_that_one(
    sampler: Sampler, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (Path.cwd() / "kills.py").write_text(
        "import os, signal\n\n\ndef parent(task):\n"
        "    if os.path.exists('spare'):\n        return 0\n"
        "    open('spare', 'w').close()\n    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    return 0\n"
    )
    void = take(sampler, "kills:parent").void
    assert void is not None
    assert "the parent process of the samples was killed (SIGKILL)" in void
    assert take(sampler, "kills:parent").void is None


def test_a_dead_nursery_says_the_same_each_time(python314: Interpreter) -> None:
    nursery = Nursery(python314, worker_environment(python314), "turns")
    child = nursery.child()
    (process,) = [each for each in _nurseries() if each.pid == nursery.pid]
    process.kill()
    for _ in range(2):
        with pytest.raises(MeasurementError, match=r"was killed \(SIGKILL\)"):
            child.wait(0.0)
    group = child.pid
    assert child.end() is False
    while psutil.pid_exists(group) and psutil.Process(group).status() != psutil.STATUS_ZOMBIE:
        os.sched_yield()  # it is killed too
    nursery.close()


def test_an_interpreter_that_cannot_start_says_why(python314: Interpreter) -> None:
    broken = {**worker_environment(python314), "PYTHONPATH": "/nowhere"}
    nursery = Nursery(python314, broken)
    with pytest.raises(MeasurementError, match=r"ended with exit code 1: .*ModuleNotFoundError"):
        nursery.child()
    nursery.close()


def test_close_ends_the_nurseries_and_a_second_one_does_nothing(
    sampler: Sampler, mine: str
) -> None:
    others = {each.pid for each in _nurseries()}
    take(sampler, f"{mine}:length")
    assert {each.pid for each in _nurseries()} - others
    sampler.close()
    assert not {each.pid for each in _nurseries()} - others
    sampler.close()


def test_a_child_that_hangs_is_killed(python314: Interpreter) -> None:
    nursery = Nursery(python314, worker_environment(python314))
    child = nursery.child()  # it waits for its spec
    assert child.wait(0.0) is None
    assert child.end() is True
    assert child.returncode == -signal.SIGKILL
    nursery.close()


def test_a_child_ends_with_its_nursery(python314: Interpreter) -> None:
    nursery = Nursery(python314, worker_environment(python314))
    child = nursery.child()
    nursery.close()
    assert child.next_event(60.0) is None
    child.end()


def test_memory_that_a_sample_shares_with_its_nursery_counts_as_its_own(
    sampler: Sampler, mine: str
) -> None:
    """Memory that the sample shares only with its nursery counts in full."""
    others = {each.pid for each in _nurseries()}
    alone = take(sampler, f"{mine}:length").peak_bytes
    (nursery,) = [each for each in _nurseries() if each.pid not in others]
    in_full = nursery.memory_full_info()
    assert alone >= 0.9 * (in_full.rss - in_full.shared)


def _nurseries() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children()
        if "todobatch.child.nursery" in process.cmdline()
    ]
