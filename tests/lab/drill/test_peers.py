"""Pools of other packages are drilled: each misbehaviour shows in their row."""

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.drill.records import STRUCK, TASKS
from todobatch.child.faults import FAULTS
from todobatch.child.peers import PEERS
from todobatch.lab.drill import drill
from todobatch.lab.drill.drill import Driller
from todobatch.lab.drill.follow import Limits, Stage
from todobatch.lab.drill.rows import Row
from todobatch.lab.interpreters import Interpreter, support, worker_environment

FAKES = """
import time

def hangs(work, job, outcomes):
    outcomes.done([0])
    time.sleep(600)

def doubles(work, job, outcomes):
    for number in range(job.tasks):
        if number != job.struck:
            outcomes.result(number, work(number))
            outcomes.result(number, work(number))

def forgets(work, job, outcomes):
    import no_such_pool

def strikes_and_hangs(work, job, outcomes):
    try:
        work(job.struck)
    except ValueError:
        time.sleep(600)

def throws(work, job, outcomes):
    for number in range(job.tasks):
        outcomes.result(number, work(number))
"""


FAKE_NAMES = ("hangs", "doubles", "forgets", "throws", "strikes_and_hangs")


@pytest.fixture
def fakes(running: Interpreter, tmp_path: Path) -> Driller:
    (tmp_path / "fake_pools.py").write_text(FAKES, "utf-8")
    env = worker_environment(running)
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(tmp_path)])
    entries = {name: f"fake_pools:{name}" for name in FAKE_NAMES}
    return Driller(Stage(running, env), TASKS, entries)


def test_a_peer_that_hangs_is_ended_and_is_a_row(fakes: Driller) -> None:
    row = replace(fakes, limits=Limits(30.0, 0.3)).run("hangs", FAULTS["poison"])
    assert (row.ended, row.done, row.lost) == ("hung", 1, TASKS - 1)
    assert "no result came back for 0.3 s" in row.note
    assert row.recovery_s is None
    assert row.seconds < 30


def test_a_peer_that_does_tasks_twice_is_found(fakes: Driller) -> None:
    row = fakes.run("doubles", FAULTS["poison"])
    assert (row.done, row.lost, row.duplicated, row.isolates) == (TASKS - 1, 1, TASKS - 1, False)
    assert "did not strike" in row.note


def test_a_peer_that_is_not_installed_is_a_row_that_says_so(fakes: Driller) -> None:
    row = fakes.run("forgets", FAULTS["poison"])
    assert (row.ended, row.tasks, row.lost) == ("unavailable", 0, 0)
    assert row.note.startswith("not installed: ModuleNotFoundError: No module named 'no_such_pool'")


def test_a_peer_that_stops_early_has_lost_the_other_tasks(fakes: Driller) -> None:
    row = fakes.run("throws", FAULTS["poison"])
    assert (row.ended, row.done, row.lost) == ("broke", STRUCK, TASKS - STRUCK)
    assert row.note == "ValueError: drill: no such project"


def test_peers_that_cannot_be_installed_are_rows_and_no_error(
    running: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TODOBATCH_CACHE", str(tmp_path))
    real = worker_environment(running)
    monkeypatch.setattr(drill, "worker_environment", lambda interpreter: dict(real))
    monkeypatch.setattr(support, "_installers", lambda interpreter: iter(()))
    found = drill.drill(
        running, lambda name, how_far: None,
        executors=["deadpool", "ThreadPoolExecutor"], faults=["poison"], tasks=TASKS,
    )  # fmt: skip
    missing, standard = found.rows
    assert missing.note.startswith("not installed: ")
    assert (standard.done, standard.set_aside, standard.lost) == (TASKS - 1, 1, 0)
    assert not found.failed


@pytest.mark.slow
def test_every_peer_survives_a_task_that_only_takes_its_time(
    running: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "DEADLINE_S", 30.0)  # on a busy machine half a second takes longer
    found = drill.drill(
        running, lambda name, how_far: None,
        executors=list(PEERS), faults=["slow"], tasks=TASKS,
    )  # fmt: skip
    assert [row.executor for row in found.rows] == list(PEERS)
    for row in found.rows:
        if row.executor == "InterpreterPoolExecutor" and sys.version_info < (3, 14):
            assert row.ended == "unavailable"
        else:
            assert (row.done, row.lost, row.ended) == (TASKS, 0, "finished"), row


def test_a_pool_that_reports_nothing_after_the_strike_is_soon_killed(
    fakes: Driller,
) -> None:
    row = replace(fakes, limits=Limits(30.0, 0.3)).run("strikes_and_hangs", FAULTS["poison"])
    assert (row.ended, row.done, row.lost) == ("hung", 0, TASKS)
    assert row.seconds < 30


def test_ctrl_c_kills_the_running_processes(fakes: Driller) -> None:
    slow = replace(fakes, limits=Limits(100.0, 100.0))
    rows: list[Row] = []
    thread = threading.Thread(target=lambda: rows.append(slow.run("hangs", FAULTS["poison"])))
    thread.start()
    slow.stage.ending.set()
    thread.join(20)
    assert not thread.is_alive()
    assert rows[0].lost >= TASKS - 1
