"""Real faults on real executors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from tests.lab.drill.records import TASKS, drilled, record_of, rowed
from todobatch.child.faults import FAULTS
from todobatch.executors import EXECUTORS
from todobatch.lab.drill import killed, rows
from todobatch.lab.drill.drill import Driller
from todobatch.lab.drill.follow import Stage
from todobatch.lab.interpreters import Interpreter, worker_environment

KEYS = {
    *("executor", "fault", "isolates", "peer", "tasks", "done", "set_aside", "lost"),
    *("duplicated", "recovery_s", "seconds", "ended", "agrees", "note", "remedy"),
}


@pytest.mark.slow
def test_no_executor_loses_a_task_to_a_fault_that_it_claims_to_isolate(
    run_todobatch: RunTodobatch,
) -> None:
    faults = ["exception", "killed", "segfault-always", "gil-held", "aggregate-crash"]
    ours = ["threads", "processes"]
    done = run_todobatch(
        *("drill", "--json", "--tasks", str(TASKS), "--no-peers"),
        *("--executors", ",".join(ours), "--faults", ",".join(faults)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    found_rows = {(row["executor"], row["fault"]): row for row in found["rows"]}
    assert list(found_rows) == [(name, fault) for name in ours for fault in faults]
    for (executor, fault), row in found_rows.items():
        assert set(row) == KEYS
        assert row["isolates"] == rows.isolates(EXECUTORS[executor].capabilities, FAULTS[fault])
        assert row["done"] + row["set_aside"] + row["lost"] == row["tasks"] == TASKS
        if row["isolates"]:
            assert (row["lost"], row["duplicated"], row["agrees"]) == (0, 0, True), row
            assert row["set_aside"] == FAULTS[fault].always, row
            assert row["recovery_s"] > 0
            assert (row["ended"], row["note"], row["remedy"]) == ("finished", "", "")
        else:
            assert row["remedy"].startswith("processes"), row
    assert found_rows["threads", "killed"]["lost"] > 0, (
        "the whole process is killed, and all tasks left"
    )
    assert found_rows["threads", "killed"]["recovery_s"] is None
    assert found_rows["threads", "gil-held"]["ended"] == "hung", "no watchdog of its own can run"
    assert found["failed"] == []


@pytest.mark.slow
def test_a_coordinator_that_is_killed_loses_and_duplicates_nothing(
    running: Interpreter, tmp_path: Path
) -> None:
    driller = Driller(Stage(running, worker_environment(running)), TASKS)
    row = driller.run("processes", FAULTS["coordinator-killed"])
    assert (row.done, row.lost, row.duplicated, row.set_aside) == (TASKS, 0, 0, 0), row
    assert row.claim_holds
    assert row.isolates


@pytest.mark.interpreters
@pytest.mark.slow
def test_memory_that_runs_out_hurts_only_the_struck_task_in_every_worker(
    python314t: Interpreter,
) -> None:
    stage = Stage(python314t, worker_environment(python314t))
    for executor in ("interpreters", "processes"):
        row = Driller(stage, TASKS).run(executor, FAULTS["out-of-memory"])
        assert (row.done, row.set_aside, row.lost) == (TASKS - 1, 1, 0), row


def test_an_executor_that_claims_too_much_is_found(
    running: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "isolates", lambda capabilities, fault: True)
    row = Driller(Stage(running, worker_environment(running)), TASKS).run(
        "threads", FAULTS["killed"]
    )
    assert (row.isolates, row.ended, row.recovery_s) == (True, "died", None)
    assert row.lost >= 10, "the batch that the struck task was in"
    assert not row.claim_holds
    assert drilled(row).failed == (row,)


def test_an_executor_that_is_not_there_is_a_row_that_says_so(running: Interpreter) -> None:
    if sys.version_info >= (3, 14):
        pytest.fail("this test is about a Python without subinterpreters")
    driller = Driller(Stage(running, worker_environment(running)), TASKS)
    row = driller.run("interpreters", FAULTS["poison"])
    assert (row.tasks, row.lost, row.isolates, row.ended) == (0, 0, False, "unavailable")
    assert "needs Python 3.14" in row.note
    assert "another interpreter" in row.remedy
    assert row.claim_holds


def test_what_lives_on_after_its_coordinator_fails_its_claim() -> None:
    """The first process of a group is killed, and the second one sleeps on."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        (left,) = killed.alive_in(process.pid)
        record = record_of()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(killed, "END_S", 0.1)
            killed.count_survivors(record, process.pid)
    row = rowed(record, "orphan")
    assert (row.lost, row.ended, row.claim_holds) == (0, "hung", False)
    assert row.note == "1 of its processes lived on 0.1 s after it was killed, and was killed"
    assert not rowed(record, "orphan", claims=False, peer="m:f").isolates
    while left in killed.alive_in(process.pid):  # ended, and by nobody else
        os.sched_yield()


@pytest.mark.slow
def test_no_worker_that_holds_the_gil_outlives_its_coordinator(running: Interpreter) -> None:
    row = Driller(Stage(running, worker_environment(running)), TASKS).run(
        "processes", FAULTS["orphan"]
    )
    assert (row.done, row.lost, row.duplicated, row.ended) == (TASKS, 0, 0, "finished"), row
    assert row.claim_holds


def test_a_fault_that_cannot_strike_is_a_row_that_says_so(
    running: Interpreter,
) -> None:
    driller = Driller(Stage(running, worker_environment(running)), TASKS)
    for executor, fault, why in (
        ("threads", "fork-server-killed", rows.NO_FORK_SERVER),
        ("wrapped-threads", "orphan", rows.NOT_A_NAME),
        ("ThreadPoolExecutor", "aggregate-crash", rows.NO_AGGREGATE),
    ):
        row = driller.run(executor, FAULTS[fault])
        assert (row.tasks, row.ended, row.isolates, row.note) == (0, "unavailable", False, why)
        assert row.claim_holds
        assert row.remedy == ""
