"""The files in examples/ hold the same tasks; a few of each are written out here by hand."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from todobatch.errors import BrokenLineError
from todobatch.model import Task
from todobatch.processors.validator import problems_of
from todobatch.sources import open_source
from todobatch.sources.registry import FORMATS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = ("todo.txt", "tasks.json", "tasks.jsonl", "tasks.csv")
TODAY = dt.date(2026, 11, 24)


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def tasks_of(name: str) -> list[Task]:
    broken: list[BrokenLineError] = []
    tasks = list(open_source(EXAMPLES / name, today=TODAY).read(broken.append))
    assert broken == []
    return tasks


GOLDEN = {
    0: Task(
        title="Send the signed lease to the landlord",
        priority=1,
        due=day("2026-11-20"),
        created=day("2026-11-02"),
        projects=("move",),
        contexts=("computer",),
    ),
    8: Task(
        title="Hand in the change of address at the town hall",
        due=day("2027-01-15"),
        created=day("2026-11-15"),
        projects=("move",),
        contexts=("town",),
        status="waiting",
    ),
    21: Task(
        title="Remove the Halloween banner",
        done=True,
        due=day("2026-11-06"),
        created=day("2026-11-02"),
        completed=day("2026-11-06"),
        projects=("work.website",),
        contexts=("computer",),
        status="completed",
    ),
    32: Task(
        title="Send the weekly status mail",
        priority=1,
        done=True,
        due=day("2026-11-20"),
        created=day("2026-01-05"),
        completed=day("2026-11-20"),
        projects=("work.reports",),
        contexts=("computer",),
        recurrence="+1w",
        status="completed",
    ),
    58: Task(
        title='Get a new washer for the kitchen tap, 3/4"',
        done=True,
        created=day("2026-09-12"),
        completed=day("2026-09-26"),
        projects=("home",),
        contexts=("town",),
        status="completed",
    ),
    80: Task(
        title="Stand-up notes for tomorrow",
        due=day("2026-11-25"),
        created=day("2026-11-24"),
        projects=("work.website",),
        contexts=("office",),
        recurrence="+1b",
    ),
}


def test_every_format_has_an_example() -> None:
    assert {open_source(EXAMPLES / name).name for name in FILES} == FORMATS.keys()


@pytest.mark.parametrize("name", FILES)
def test_an_example_reads_as_it_is_written_out_here(name: str) -> None:
    tasks = tasks_of(name)
    assert len(tasks) == 84
    assert sum(task.done for task in tasks) == 25
    assert {index: tasks[index] for index in GOLDEN} == GOLDEN


@pytest.mark.parametrize("name", FILES)
def test_every_task_of_an_example_is_sound(name: str) -> None:
    assert [problems_of(task, TODAY) for task in tasks_of(name)] == [[]] * 84


def test_the_examples_hold_the_same_tasks() -> None:
    expected = tasks_of("todo.txt")
    assert tasks_of("tasks.jsonl") == expected
    assert tasks_of("tasks.csv") == expected


def test_taskwarriors_example_differs_in_what_taskwarrior_cannot_say_only() -> None:
    def coarse(task: Task) -> Task:
        steps = {1: 1, 2: 1, 3: 5, 4: 5, 5: 5}  # H, M, L
        strict = task.recurrence and "+" + task.recurrence.removeprefix("+")
        return replace(task, priority=steps.get(task.priority, 9), recurrence=strict)

    assert tasks_of("tasks.json") == [coarse(task) for task in tasks_of("todo.txt")]


def test_the_export_holds_deleted_tasks_and_templates_that_are_left_out_and_counted() -> None:
    source = open_source(EXAMPLES / "tasks.json", today=TODAY)
    assert len(list(source.read(lambda error: pytest.fail(str(error))))) == 84
    assert source.skipped == {"deleted task": 2, "recurring template": 2}
