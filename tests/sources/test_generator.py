"""The generator makes the same valid tasks everywhere, one at a time."""

import datetime as dt
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from todobatch.errors import UsageError
from todobatch.model import Task
from todobatch.processors.validator import problems_of
from todobatch.sources import REFERENCE_DAY, generate

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[2]

# The digest of a thousand tasks: it changes only when the stream is changed on purpose.
DIGEST = """
import hashlib
from todobatch.sources.generator import generate
text = "\\n".join(map(repr, generate(1000, seed=7)))
print(hashlib.sha256(text.encode()).hexdigest()[:16])
"""
EXPECTED_DIGEST = "dd01d96224428cd5"


def digest(python: Path | str) -> str:
    command = [str(python), "-c", DIGEST]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=60)
    return done.stdout.strip()


def test_the_stream_of_a_seed_is_the_same_on_this_python() -> None:
    assert digest(sys.executable) == EXPECTED_DIGEST


@pytest.mark.interpreters
def test_the_stream_of_a_seed_is_the_same_on_the_measured_pythons(
    each_python: "Interpreter",
) -> None:
    assert digest(each_python.executable) == EXPECTED_DIGEST


def test_the_same_seed_gives_the_same_tasks_and_another_gives_others() -> None:
    assert list(generate(50, seed=3)) == list(generate(50, seed=3))
    assert list(generate(50, seed=3)) != list(generate(50, seed=4))


@pytest.mark.parametrize("shorter", [0, 1, 99])
def test_a_shorter_run_is_the_beginning_of_a_longer_one(shorter: int) -> None:
    assert list(generate(shorter, seed=1)) == list(islice(generate(1000, seed=1), shorter))


@pytest.mark.parametrize("today", [REFERENCE_DAY, dt.date(2024, 2, 29), dt.date(2031, 1, 1)])
def test_every_task_is_sound_on_its_day(today: dt.date) -> None:
    problems = Counter(p for t in generate(20_000, today=today) for p in problems_of(t, today))
    assert problems == Counter()


def test_done_tasks_and_only_they_are_completed() -> None:
    tasks = list(generate(5_000))
    assert {task.done for task in tasks} == {True, False}
    for task in tasks:
        assert task.done == (task.status == "completed") == (task.completed is not None)


def share(tasks: list[Task], having: "list[bool]") -> float:
    assert len(tasks) == len(having)
    return sum(having) / len(tasks)


def test_the_tasks_look_like_somebodys_list() -> None:
    tasks = list(generate(20_000))
    today = REFERENCE_DAY
    assert share(tasks, [t.done for t in tasks]) == pytest.approx(0.3, abs=0.02)
    assert share(tasks, [t.due is None for t in tasks]) == pytest.approx(0.25, abs=0.02)
    assert share(tasks, [t.recurrence is not None for t in tasks]) == pytest.approx(0.19, abs=0.02)
    undone = [t for t in tasks if not t.done]
    overdue = [t.due is not None and t.due < today for t in undone]
    ahead = [t.due is not None and t.due > today for t in undone]
    assert 0.1 < share(undone, overdue) < 0.3
    assert 0.4 < share(undone, ahead) < 0.7
    assert {t.priority for t in tasks} == set(range(1, 11))
    assert share(tasks, [4 <= t.priority <= 6 for t in tasks]) > 0.5
    assert {t.status for t in tasks} == {"pending", "waiting", "completed"}
    assert len({t.title for t in tasks}) > 3_500
    assert {len(t.projects) for t in tasks} == {0, 1, 2}
    assert {len(t.contexts) for t in tasks} == {0, 1, 2}


def test_tasks_are_made_when_they_are_asked_for() -> None:
    stream = generate(10**18)
    assert len(list(islice(stream, 10))) == 10


def test_senseless_requests_are_refused_before_the_first_task() -> None:
    with pytest.raises(UsageError, match="cannot generate -1 tasks"):
        generate(-1)
    with pytest.raises(UsageError, match="around 0001-01-01"):
        generate(1, today=dt.date.min)
