"""The drill: real faults on real executors, and a judge that is not taken in."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from todobatch.child.drill import DrillJob
from todobatch.child.faults import FAULTS
from todobatch.child.peers import PEERS
from todobatch.cli.shared.options import names
from todobatch.cli.views import drill as drill_show
from todobatch.errors import UsageError
from todobatch.executors import EXECUTORS
from todobatch.executors.base import Capabilities
from todobatch.lab.drill import drill
from todobatch.lab.drill import follow as drill_take
from todobatch.lab.drill.follow import Limits, Stage, Story
from todobatch.lab.interpreters import Interpreter, find, support, worker_environment

TASKS = 60
STRUCK = TASKS // 3
KEYS = {
    *("executor", "fault", "isolates", "peer", "tasks", "done", "set_aside", "lost"),
    *("duplicated", "recovery_s", "seconds", "ended", "agrees", "note", "remedy"),
}


@pytest.fixture(scope="module")
def running() -> Interpreter:
    return find(sys.executable)


def job(fault: str, *, peer: str | None = None, executor: str = "processes") -> DrillJob:
    return {
        "executor": executor,
        "peer": peer,
        "fault": fault,
        "struck": STRUCK,
        "folder": "",
        "tasks": TASKS,
        "workers": 2,
        "batch_size": 10,
        "deadline_s": 1.0,
        "retries": 2,
        "backoff_s": 0.05,
        "watchdog_s": 3.0,
    }


def story(*, without: Sequence[int] = (), struck: float | None = 10.0) -> Story:
    """All tasks done but some, the struck one a second after the strike."""
    told = Story(struck=struck)
    done = [task for task in range(TASKS) if task not in without]
    told.hear({"event": "done", "tasks": done, "at": 11.0})
    return told


def judged(told: Story, fault: str = "killed", *, claims: bool = True, **how: Any) -> drill.Row:
    return drill.judge(told, job(fault, **how), claims=claims, seconds=2.0)


# The real thing -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_executor_loses_a_task_to_a_fault_that_it_says_it_isolates(
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
    rows = {(row["executor"], row["fault"]): row for row in found["rows"]}
    assert list(rows) == [(name, fault) for name in ours for fault in faults]
    for (executor, fault), row in rows.items():
        assert set(row) == KEYS
        assert row["isolates"] == drill.isolates(EXECUTORS[executor].capabilities, FAULTS[fault])
        assert row["done"] + row["set_aside"] + row["lost"] == row["tasks"] == TASKS
        if row["isolates"]:
            assert (row["lost"], row["duplicated"], row["agrees"]) == (0, 0, True), row
            assert row["set_aside"] == FAULTS[fault].always, row
            assert row["recovery_s"] > 0
            assert (row["ended"], row["note"], row["remedy"]) == ("finished", "", "")
        else:
            assert row["remedy"].startswith("processes"), row
    assert rows["threads", "killed"]["lost"] > 0, "the whole process is killed, and all tasks left"
    assert rows["threads", "killed"]["recovery_s"] is None
    assert rows["threads", "gil-held"]["ended"] == "hung", "no watchdog of its own can run"
    assert found["failed"] == []


@pytest.mark.slow
def test_a_coordinator_that_is_killed_loses_and_doubles_nothing(
    running: Interpreter, tmp_path: Path
) -> None:
    taker = drill.Taker(Stage(running, worker_environment(running)), TASKS)
    row = taker.take("processes", FAULTS["coordinator-killed"])
    assert (row.done, row.lost, row.duplicated, row.set_aside) == (TASKS, 0, 0, 0), row
    assert row.keeps_its_word
    assert row.isolates


@pytest.mark.interpreters
@pytest.mark.slow
def test_a_memory_that_is_full_is_the_strucks_own_affair_in_every_worker(
    python314t: Interpreter,
) -> None:
    stage = Stage(python314t, worker_environment(python314t))
    for executor in ("interpreters", "processes"):
        row = drill.Taker(stage, TASKS).take(executor, FAULTS["out-of-memory"])
        assert (row.done, row.set_aside, row.lost) == (TASKS - 1, 1, 0), row


def test_an_executor_that_claims_more_than_is_true_is_found_out(
    running: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "isolates", lambda capabilities, fault: True)
    row = drill.Taker(Stage(running, worker_environment(running)), TASKS).take(
        "threads", FAULTS["killed"]
    )
    assert (row.isolates, row.ended, row.recovery_s) == (True, "died", None)
    assert row.lost >= 10, "the batch that the struck task was in"
    assert not row.keeps_its_word
    assert drilled(row).broken_words == (row,)


def test_an_executor_that_is_not_there_is_a_row_that_says_so(running: Interpreter) -> None:
    if sys.version_info >= (3, 14):
        pytest.fail("this test is about a Python without subinterpreters")
    taker = drill.Taker(Stage(running, worker_environment(running)), TASKS)
    row = taker.take("interpreters", FAULTS["poison"])
    assert (row.tasks, row.lost, row.isolates, row.ended) == (0, 0, False, "unavailable")
    assert "needs Python 3.14" in row.note
    assert "--interpreter" in row.remedy
    assert row.keeps_its_word


# Peers --------------------------------------------------------------------------------------------

FAKES = """
import time

def hangs(work, tasks, job, tell):
    tell.done([0])
    time.sleep(600)

def doubles(work, tasks, job, tell):
    for number in tasks:
        if number != job["struck"]:
            tell.result(number, work(number))
            tell.result(number, work(number))

def forgets(work, tasks, job, tell):
    import no_such_pool

def strikes_and_hangs(work, tasks, job, tell):
    try:
        work(job["struck"])
    except ValueError:
        time.sleep(600)

def throws(work, tasks, job, tell):
    for number in tasks:
        tell.result(number, work(number))
"""


FAKE_NAMES = ("hangs", "doubles", "forgets", "throws", "strikes_and_hangs")


@pytest.fixture
def fakes(running: Interpreter, tmp_path: Path) -> drill.Taker:
    (tmp_path / "fake_pools.py").write_text(FAKES, "utf-8")
    env = worker_environment(running)
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(tmp_path)])
    entries = {name: f"fake_pools:{name}" for name in FAKE_NAMES}
    return drill.Taker(Stage(running, env), TASKS, entries)


def test_a_peer_that_hangs_is_ended_and_is_a_row(fakes: drill.Taker) -> None:
    row = replace(fakes, limits=Limits(30.0, 0.3)).take("hangs", FAULTS["poison"])
    assert (row.ended, row.done, row.lost) == ("hung", 1, TASKS - 1)
    assert "nothing came back for 0.3 s" in row.note
    assert row.recovery_s is None
    assert row.seconds < 30


def test_a_peer_that_does_tasks_twice_is_found_out(fakes: drill.Taker) -> None:
    row = fakes.take("doubles", FAULTS["poison"])
    assert (row.done, row.lost, row.duplicated, row.isolates) == (TASKS - 1, 1, TASKS - 1, False)
    assert "did not strike" in row.note


def test_a_peer_that_is_not_installed_is_a_row_that_says_so(fakes: drill.Taker) -> None:
    row = fakes.take("forgets", FAULTS["poison"])
    assert (row.ended, row.tasks, row.lost) == ("unavailable", 0, 0)
    assert row.note.startswith("not installed: ModuleNotFoundError: No module named 'no_such_pool'")


def test_a_peer_that_gives_up_has_lost_what_it_did_not_do(fakes: drill.Taker) -> None:
    row = fakes.take("throws", FAULTS["poison"])
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
    assert not found.broken_words


@pytest.mark.slow
def test_every_peer_survives_a_task_that_only_takes_its_time(running: Interpreter) -> None:
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


def test_what_lives_on_after_its_coordinator_breaks_the_word() -> None:
    """A process group whose first process is killed and whose second one sleeps."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.wait()
        (left,) = drill_take.alive_in(process.pid)
        told = story()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drill_take, "END_S", 0.1)
            told.look_for_survivors(process.pid)
    row = judged(told, "orphan")
    assert (row.lost, row.ended, row.keeps_its_word) == (0, "hung", False)
    assert row.note == "1 of its processes lived on 0.1 s after it was killed, and was ended"
    assert not judged(told, "orphan", claims=False, peer="m:f").isolates
    while left in drill_take.alive_in(process.pid):  # ended, and by nobody else
        os.sched_yield()


@pytest.mark.slow
def test_no_worker_that_holds_the_gil_outlives_its_coordinator(running: Interpreter) -> None:
    row = drill.Taker(Stage(running, worker_environment(running)), TASKS).take(
        "processes", FAULTS["orphan"]
    )
    assert (row.done, row.lost, row.duplicated, row.ended) == (TASKS, 0, 0, "finished"), row
    assert row.keeps_its_word


def test_a_fault_that_there_is_nothing_to_strike_for_is_a_row_that_says_so(
    running: Interpreter,
) -> None:
    taker = drill.Taker(Stage(running, worker_environment(running)), TASKS)
    for executor, fault, why in (
        ("threads", "fork-server-killed", drill.NO_FORK_SERVER),
        ("wrapped-threads", "orphan", drill.NOT_A_NAME),
        ("ThreadPoolExecutor", "aggregate-crash", drill.SUMS_NOTHING_UP),
    ):
        row = taker.take(executor, FAULTS[fault])
        assert (row.tasks, row.ended, row.isolates, row.note) == (0, "unavailable", False, why)
        assert row.keeps_its_word
        assert row.remedy == ""


def test_one_that_tells_of_nothing_after_the_strike_is_not_waited_for_for_long(
    fakes: drill.Taker,
) -> None:
    row = replace(fakes, limits=Limits(30.0, 0.3)).take("strikes_and_hangs", FAULTS["poison"])
    assert (row.ended, row.done, row.lost) == ("hung", 0, TASKS)
    assert row.seconds < 30


# The judge ----------------------------------------------------------------------------------------


def test_a_task_that_is_neither_done_nor_set_aside_is_lost() -> None:
    row = judged(story(without=[3, STRUCK]))
    assert (row.done, row.lost, row.recovery_s) == (TASKS - 2, 2, None)
    assert not row.keeps_its_word


def test_a_task_that_is_done_twice_breaks_the_word() -> None:
    told = story()
    told.hear({"event": "done", "tasks": [5], "at": 12.0})
    row = judged(told)
    assert (row.done, row.duplicated) == (TASKS, 1)
    assert not row.keeps_its_word


def test_a_task_that_is_done_and_failed_too_breaks_the_word() -> None:
    told = story()
    told.hear({"event": "failed", "tasks": [STRUCK], "error": "and failed", "at": 12.0})
    row = judged(told)
    assert (row.done, row.set_aside, row.duplicated, row.lost) == (TASKS, 0, 1, 0)
    assert not row.keeps_its_word


def test_a_run_that_does_all_and_never_ends_breaks_the_word() -> None:
    told = story()
    assert judged(told).keeps_its_word
    told.end("hung", "nothing came back for 15 s, and it was ended")
    assert not judged(told).keeps_its_word


def test_only_the_struck_task_may_be_set_aside() -> None:
    told = story(without=[3, STRUCK])
    told.hear({"event": "failed", "tasks": [STRUCK], "error": "its own", "at": 13.0})
    told.hear({"event": "failed", "tasks": [3], "error": "innocent", "at": 13.0})
    row = judged(told)
    assert (row.set_aside, row.lost) == (1, 1)
    assert row.note == "tasks with nothing wrong failed too: innocent"


def test_a_struck_task_whose_error_is_everybodys_was_not_found_out() -> None:
    told = story(without=[3, STRUCK])
    told.hear({"event": "failed", "tasks": [3, STRUCK], "error": "the pool broke", "at": 13.0})
    assert (judged(told).set_aside, judged(told).lost) == (0, 2)


def test_recovery_is_from_the_strike_to_the_outcome_of_the_struck_task() -> None:
    told = story(without=[STRUCK])
    told.hear({"event": "failed", "tasks": [STRUCK], "error": "poison", "at": 12.5})
    assert judged(told, "poison").recovery_s == 2.5
    assert judged(story()).recovery_s == 1.0


def test_a_fault_that_did_not_strike_proves_nothing() -> None:
    row = judged(story(struck=None))
    assert (row.lost, row.recovery_s, row.keeps_its_word) == (0, None, False)
    assert row.note == "the fault did not strike"


def test_a_coordinator_that_counts_otherwise_breaks_the_word() -> None:
    told = story()
    told.hear({"event": "report", "done": TASKS, "failed": 0, "at": 12.0})
    assert judged(told).keeps_its_word
    told.hear({"event": "report", "done": TASKS - 1, "failed": 1, "at": 12.0})
    assert not judged(told).keeps_its_word


def test_what_comes_back_for_a_task_that_failed_is_no_result() -> None:
    told = story(without=[STRUCK])
    told.hear({"event": "strange", "tasks": [STRUCK], "error": "None came back", "at": 12.0})
    row = judged(told, "out-of-memory")
    assert (row.done, row.lost, row.note) == (TASKS - 1, 1, "None came back")


def test_a_peer_promises_nothing_and_breaks_no_word() -> None:
    row = judged(story(without=[3]), claims=False, peer="m:f", executor="some pool")
    assert (row.peer, row.isolates, row.keeps_its_word) == (True, False, True)
    assert judged(story(), claims=False, peer="m:f").isolates


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_what_an_executor_claims_follows_from_its_capabilities(fault: Any) -> None:
    def able(*, crashes: bool, deadlines: bool) -> Capabilities:
        return Capabilities(crashes, deadlines, True, False, True)

    need = fault.needs
    assert drill.isolates(able(crashes=True, deadlines=False), fault) == (need != "deadline")
    assert drill.isolates(able(crashes=False, deadlines=True), fault) == (need != "crashes")
    assert drill.isolates(able(crashes=True, deadlines=True), fault)


# The command --------------------------------------------------------------------------------------


def drilled(*rows: drill.Row) -> drill.Drill:
    return drill.Drill("3.14t", "3.14.7", False, 2, TASKS, 3.0, rows)


def test_a_broken_word_is_exit_code_3_and_stands_in_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from todobatch.cli.app import app

    broken = drilled(judged(story(without=[3])))
    monkeypatch.setattr(drill, "drill", lambda *args, **options: broken)
    done = CliRunner().invoke(app, ["drill", "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["failed"] == ["processes/killed"]
    done = CliRunner().invoke(app, ["drill"])
    assert done.exit_code == 3
    assert "Failed: processes claims to isolate killed, but 1 tasks" in " ".join(
        done.stdout.split()
    )


def test_the_page_names_what_to_use_instead() -> None:
    lost = judged(story(without=[3]), "hung", claims=False, executor="threads")
    page = list(drill_show.lines(drilled(lost)))
    assert page[0].startswith("Not isolated by threads: hung. Use processes with a deadline")
    assert "The faults: hung: a task waits for ever, once." in page


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"executors": ["thraeds"]}, "--executors"),
        ({"faults": ["flood"]}, "--faults"),
        ({"tasks": 19}, "--tasks"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    running: Interpreter, options: Any, place: str
) -> None:
    with pytest.raises(UsageError) as error:
        drill.drill(running, lambda name, how_far: None, **options)
    assert error.value.place == place


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="it names nothing"):
        names(" , ", "--faults")


def test_ctrl_c_ends_the_processes_that_are_under_way(fakes: drill.Taker) -> None:
    slow = replace(fakes, limits=Limits(100.0, 100.0))
    rows: list[drill.Row] = []
    thread = threading.Thread(target=lambda: rows.append(slow.take("hangs", FAULTS["poison"])))
    thread.start()
    slow.stage.ending.set()
    thread.join(20)
    assert not thread.is_alive()
    assert rows[0].lost >= TASKS - 1
