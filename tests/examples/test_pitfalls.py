"""Each pitfall shows what it claims to show; the tests check counts, and hardly any times."""

import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from examples.pitfalls import clocks, lock_scope, not_always, processes, race, stage
from tests.conftest import ROOT
from todobatch.processors.synthetic import IO_WAIT_S

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter


def play(name: str, interpreter: "Interpreter") -> str:
    """Return what the command prints on an interpreter."""
    done = subprocess.run(
        [sys.executable, "-m", f"examples.pitfalls.{name}",
         "--interpreter", str(interpreter.executable)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=110,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def races(printed: str) -> dict[str, tuple[int, int, int]]:
    """Return counted, lost and rounds of each way, from the printed lines."""
    line = re.compile(r"^(.+?) +([\d,]+) counted +([\d,]+) lost +round (\d+)$", re.MULTILINE)
    return {
        way: (int(counted.replace(",", "")), int(lost.replace(",", "")), int(rounds))
        for way, counted, lost, rounds in line.findall(printed)
    }


# The race -----------------------------------------------------------------------------------------


@pytest.mark.interpreters
def test_without_a_gil_updates_are_lost_without_the_lock_and_none_with_it(
    python314t: "Interpreter",
) -> None:
    printed = play("race", python314t)
    assert "GIL off" in printed
    seen = races(printed)
    assert seen["no lock"][1] > 0
    assert seen["with a lock"][:2] == (400_000, 0)
    assert seen["with a lock"][2] >= 5
    assert "updates are lost" in printed


@pytest.mark.interpreters
def test_with_a_gil_it_says_what_it_saw(python314: "Interpreter") -> None:
    printed = play("race", python314)
    assert "GIL on" in printed
    seen = races(printed)
    assert all(counted + lost == 400_000 for counted, lost, _ in seen.values())
    assert seen["with a lock"][1] == 0
    said_lost = "updates are lost" in printed
    assert said_lost is (seen["no lock"][1] > 0)
    assert said_lost or "Nothing promises that" in printed
    assert ("in between it was" in printed) is (not said_lost and
                                                seen["no lock, a call between"][1] > 0)  # fmt: skip


def test_a_lock_that_loses_something_ends_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fine, broken = race.Seen("a", 1, 10, 10), race.Seen("b", 1, 10, 9)
    monkeypatch.setattr(race, "see", lambda: (fine, fine, broken))
    assert race.show() == 1
    assert "this must not be" in capsys.readouterr().out
    monkeypatch.setattr(race, "see", lambda: (broken, broken, fine))
    assert race.show() == 0


def test_it_tries_until_something_is_lost_and_no_longer() -> None:
    losing = race.until_lost("losing", lambda tally: None)
    assert (losing.rounds, losing.lost) == (1, race.THREADS * race.COUNTS)
    lock = threading.Lock()

    def whole(tally: race.Tally) -> None:
        with lock:
            tally.done += race.COUNTS

    keeping = race.until_lost("keeping", whole, 3)
    assert (keeping.rounds, keeping.lost) == (3, 0)


def test_works_begin_together_each_on_a_cpu_and_an_error_is_raised() -> None:
    seen: list[tuple[int, ...]] = []
    meeting = threading.Barrier(2, timeout=30)

    def work() -> None:
        meeting.wait()
        if hasattr(os, "sched_getaffinity"):
            seen.append(tuple(os.sched_getaffinity(0)))

    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    stage.side_by_side([work, work])
    if before:
        assert len(set(seen)) == min(2, len(before))
        assert os.sched_getaffinity(0) == before  # the caller's own placement is left alone

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage.side_by_side([broken, lambda: None])


# The pitfalls -------------------------------------------------------------------------------------


def test_check_then_act_in_two_steps_goes_wrong_whenever_both_stand_between() -> None:
    for _ in range(20):
        assert lock_scope.forced().claimed_twice == 1


@pytest.mark.interpreters
def test_one_lock_over_check_and_act_never_claims_twice(each_python: "Interpreter") -> None:
    printed = play("lock_scope", each_python)
    twice = dict(
        re.findall(r"^(\S.+?) +[\d,]+ tasks +([\d,]+) claimed twice", printed, re.MULTILINE)
    )
    assert twice["two steps, both between them"] == "1"
    assert twice["one step"] == "0"


@pytest.mark.thread_unsafe(reason="it is about a global that all threads share")
def test_what_a_worker_process_changes_is_not_seen_here() -> None:
    threads, others = processes.see()
    assert threads.tasks == threads.in_the_global == threads.returned == 1_000
    assert threads.other_processes == 0
    assert (others.in_the_global, others.returned) == (0, 1_000)
    assert others.other_processes >= 1


@pytest.mark.interpreters
def test_processes_share_no_global_on_any_build(each_python: "Interpreter") -> None:
    rows = re.findall(r"^(threads|processes) +1,000 +([\d,]+) +1,000$",
                      play("processes", each_python), re.MULTILINE)  # fmt: skip
    assert dict(rows) == {"threads": "1,000", "processes": "0"}


@pytest.mark.thread_unsafe(reason="it compares times")
def test_a_benchmark_that_starts_the_pool_times_the_start() -> None:
    start, wall_clock, counter = clocks.see()
    assert start.start_s > 0
    assert start.with_start < start.without
    assert (wall_clock.adjustable, counter.adjustable, counter.monotonic) == (True, False, True)
    assert wall_clock.measured_s < 0 < counter.measured_s


@pytest.mark.thread_unsafe(reason="it compares times")
def test_many_waits_are_for_coroutines_and_every_way_gives_the_same_output() -> None:
    few, many, coroutines = not_always.see_waits()
    assert few.digest == many.digest == coroutines.digest
    # Few threads take turns at waiting, so this holds on any machine; the other takes 5 ms or so.
    assert few.wall_s >= not_always.WAITS / not_always.FEW_THREADS * IO_WAIT_S
    assert coroutines.wall_s < few.wall_s


def test_sharing_one_object_gives_the_same_output_in_every_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(not_always, "HOT_TASKS", 400)
    rows = not_always.see_sharing()
    assert len(rows) == 3
    assert len({row.digest for row in rows}) == 1


@pytest.mark.slow
@pytest.mark.interpreters
def test_it_names_the_fastest_by_its_own_figures(python314t: "Interpreter") -> None:
    printed = play("not_always", python314t)
    units = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
    for part in printed.split("\n\n")[1:3]:
        walls = {
            way: float(figure) * units[unit]
            for way, figure, unit in re.findall(
                r"^  (\S.+?) +[\d.]+ \S+ to start +([\d.]+) (\S+) to work$", part, re.MULTILINE
            )
        }
        assert len(walls) == 3
        (named,) = re.findall(r"fastest to work: (.+?); with the start", part)
        assert walls[named] == min(walls.values())


def test_an_interpreter_that_is_not_there_is_told_with_the_remedy() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.pitfalls.race", "--interpreter", "no/such/python"],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 4
    assert "remedy" in done.stderr
