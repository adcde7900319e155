"""The processors `validate`, `process` and `report`, and the catalogue."""

import datetime as dt
import json
import pickle
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from todobatch.errors import UsageError
from todobatch.model import Batch, Task
from todobatch.processors import WORKLOADS, TaskProcessor, TaskReporter, TaskValidator, resolve
from todobatch.processors.base import TaskBatchProcessor, digest_of
from todobatch.processors.processor import transition, urgency_milli
from todobatch.processors.recurrence import next_due
from todobatch.processors.validator import problems_of

TODAY = dt.date(2026, 11, 24)
DAY = dt.timedelta(days=1)

tasks_of_any_kind = st.builds(
    Task,
    title=st.text(max_size=12),
    priority=st.integers(0, 11),
    done=st.booleans(),
    due=st.none() | st.dates(dt.date(2026, 1, 1), dt.date(2027, 12, 31)),
    created=st.none() | st.dates(dt.date(2024, 1, 1), TODAY),
    projects=st.lists(st.sampled_from("abc"), max_size=2).map(tuple),
    contexts=st.lists(st.sampled_from("xyz"), max_size=4).map(tuple),
    recurrence=st.sampled_from([None, "1d", "+2w", "1m", "never"]),
    status=st.sampled_from(["pending", "waiting", "overdue", "completed"]),
)


def test_a_sound_task_has_no_problems() -> None:
    task = Task("Pay rent", 1, due=TODAY + DAY, created=TODAY - DAY, recurrence="+1m")
    assert problems_of(task, TODAY) == []


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (Task(""), "title is empty"),
        (Task("x" * 501), "title is longer than 500 characters"),
        (Task("a", 0), "priority is not between 1 and 10"),
        (Task("a", 11), "priority is not between 1 and 10"),
        (Task("a", due=dt.date(2126, 1, 1)), "due date is more than 50 years away"),
        (Task("a", due=TODAY - 2 * DAY, created=TODAY - DAY), "due before it was created"),
        (Task("a", created=TODAY + DAY), "created in the future"),
        (Task("a", completed=TODAY), "has a completion date but is not done"),
        (
            Task("a", done=True, created=TODAY, completed=TODAY - DAY),
            "completed before it was created",
        ),
        (Task("a", status="lost"), "status is unknown"),
        (Task("a", recurrence="every full moon"), "recurrence is not understood"),
        (Task("a", recurrence="9999y"), "recurrence ends after the year 9999"),
    ],
)
def test_each_problem_is_found_and_nothing_else(task: Task, problem: str) -> None:
    assert problems_of(task, TODAY) == [problem]


def test_the_validator_counts_each_problem() -> None:
    result = TaskValidator(today=TODAY).process_batch([Task("a"), Task("", 99), Task("")])
    assert result.success
    assert dict(result.partial) == {
        "sound": 1,
        "unsound": 2,
        "problems": {"title is empty": 2, "priority is not between 1 and 10": 1},
    }


@pytest.mark.parametrize(
    ("recurrence", "due", "finished", "expected"),
    [
        ("3d", dt.date(2026, 11, 1), TODAY, dt.date(2026, 11, 27)),
        ("+3d", dt.date(2026, 11, 1), TODAY, dt.date(2026, 11, 4)),
        ("+3d", None, TODAY, dt.date(2026, 11, 27)),
        ("1w", None, TODAY, dt.date(2026, 12, 1)),
        ("+1m", dt.date(2026, 1, 31), TODAY, dt.date(2026, 2, 28)),
        ("+1m", dt.date(2028, 1, 31), TODAY, dt.date(2028, 2, 29)),
        ("+13m", dt.date(2026, 12, 31), TODAY, dt.date(2028, 1, 31)),
        ("+1y", dt.date(2028, 2, 29), TODAY, dt.date(2029, 2, 28)),
        ("+1b", dt.date(2026, 11, 27), TODAY, dt.date(2026, 11, 30)),  # Friday to Monday
        ("+5b", dt.date(2026, 11, 28), TODAY, dt.date(2026, 12, 7)),  # from a Saturday
        ("+7b", dt.date(2026, 11, 25), TODAY, dt.date(2026, 12, 4)),
    ],
)
def test_a_recurring_task_comes_again_on_the_right_day(
    recurrence: str, due: dt.date | None, finished: dt.date, expected: dt.date
) -> None:
    assert next_due(recurrence, due, finished) == expected


@pytest.mark.parametrize("recurrence", ["", "d", "0d", "1x", "-1d", "1.5d", "9999y", "1d "])
def test_a_recurrence_that_makes_no_sense_is_refused(recurrence: str) -> None:
    with pytest.raises(ValueError, match="recurrence"):
        next_due(recurrence, None, TODAY)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Task("a"), ("pending", 5)),
        (Task("a", status="waiting"), ("waiting", 5)),
        (Task("a", due=TODAY), ("pending", 5)),
        (Task("a", due=TODAY - DAY), ("overdue", 4)),
        (Task("a", due=TODAY - 8 * DAY), ("overdue", 3)),
        (Task("a", 1, due=TODAY - 8 * DAY), ("overdue", 1)),
        (Task("a", due=TODAY + DAY, status="overdue"), ("pending", 5)),
        (Task("a", done=True, due=TODAY - DAY), ("completed", 5)),
        (Task("a", status="completed"), ("pending", 5)),
    ],
)
def test_a_task_moves_to_the_state_of_today(task: Task, expected: tuple[str, int]) -> None:
    assert transition(task, TODAY) == expected


def test_urgency_is_taskwarriors_polynomial() -> None:
    assert urgency_milli(Task("a", done=True), TODAY) == 0
    assert urgency_milli(Task("a", 10), TODAY) == 600
    assert urgency_milli(Task("a", 1), TODAY) == 6000
    overdue = Task("a", 1, due=TODAY - 7 * DAY, projects=("p",), contexts=("x",))
    assert urgency_milli(overdue, TODAY) == 6000 + 12_000 + 1000 + 800
    far = Task("a", 1, due=TODAY + 400 * DAY, created=TODAY - 365 * DAY, status="waiting")
    assert urgency_milli(far, TODAY) == 6000 + 2400 + 2000 - 3000


@given(tasks_of_any_kind, st.integers(1, 40))
def test_a_task_is_never_less_urgent_when_it_is_due_sooner(task: Task, days: int) -> None:
    if task.due is None:
        return
    fields = {f: getattr(task, f) for f in Task.__match_args__}
    sooner = Task(**{**fields, "due": task.due - dt.timedelta(days=days)})
    assert urgency_milli(sooner, TODAY) >= urgency_milli(task, TODAY)


def test_a_finished_recurring_task_says_when_it_comes_again() -> None:
    processor = TaskProcessor(today=TODAY)
    task = Task("a", done=True, recurrence="1w", completed=TODAY - DAY)
    assert processor.process_task(task) == {
        "status": "completed",
        "priority": 5,
        "urgency": 0,
        "next_due": "2026-11-30",
    }
    result = processor.process_batch([task, Task("b", done=True, recurrence="never"), Task("c")])
    assert result.tasks_processed == 2
    assert "recurrence 'never' is not" in result.failures[0].error


@pytest.mark.parametrize("workload", ["validate", "process", "report", "pipeline"])
@given(
    tasks=st.lists(tasks_of_any_kind, min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    seed=st.integers(0, 99),
)
def test_partial_aggregates_merge_to_the_same_whole_in_any_order(
    workload: str, tasks: list[Task], cuts: list[int], seed: int
) -> None:
    processor = resolve(workload, today=TODAY)
    edges = [0, *sorted(min(cut, len(tasks)) for cut in cuts), len(tasks)]
    parts = [dict(processor.process_batch(tasks[a:b]).partial) for a, b in pairwise(edges) if a < b]
    random.Random(seed).shuffle(parts)
    merged = parts[0]
    for part in parts[1:]:
        merged = processor.merge(merged, part)
    whole = processor.process_batch(tasks).partial
    assert processor.finish(merged) == processor.finish(whole)


def test_the_report_adds_up() -> None:
    tasks = [
        Task("old", 1, due=TODAY - 9 * DAY, projects=("home",)),
        Task("new", 10, contexts=("shop",), projects=("home",)),
        Task("done", 2, done=True, projects=("work",)),
        Task("none", 3),
    ]
    processor = TaskReporter(today=TODAY)
    report = processor.finish(processor.process_batch(tasks).partial)
    assert (report["tasks"], report["done"], report["overdue"]) == (4, 1, 1)
    assert report["completion_rate"] == 0.25
    assert [entry["title"] for entry in report["most_urgent"]] == ["old", "none", "new"]
    assert report["projects"]["home"] == {"tasks": 2, "done": 0, "completion_rate": 0.0}
    assert report["projects"]["work"]["completion_rate"] == 1.0
    assert list(report["priorities"]) == ["1", "2", "3", "10"]


def test_example8_is_the_documents_load() -> None:
    processor = resolve("example8", today=TODAY)
    squares = sum(n**2 for n in range(5_000))
    assert processor.process_task(Task("a")) == squares
    assert processor.process_task(Task("a", done=True)) == squares + 499_500


def test_the_pipeline_leaves_unsound_tasks_unprocessed_but_reports_them() -> None:
    result = resolve("pipeline", today=TODAY).process_batch([Task("a"), Task("", 99)])
    assert result.rows is not None
    sound, unsound = result.rows
    assert isinstance(sound, list)
    assert isinstance(unsound, list)
    assert (sound[0], unsound[1]) == ([], None)
    assert result.partial["report"]["tasks"] == 2
    assert result.partial["process"]["statuses"] == {"pending": 1}


@pytest.mark.parametrize("workload", list(WORKLOADS))
def test_every_workload_pickles_and_says_what_it_stresses(workload: str) -> None:
    processor = resolve(workload, today=TODAY)
    copy = pickle.loads(pickle.dumps(processor))
    batch = Batch(3, (Task("a"), Task("b", done=True)), 300)
    assert copy.process_batch(batch).digest == processor.process_batch(batch).digest
    assert WORKLOADS[workload].stresses
    assert processor.processor_id == workload


def test_a_function_may_be_named_as_a_workload() -> None:
    processor = resolve("todobatch.units:show_seconds", today=TODAY)
    assert processor.processor_id == "todobatch.units:show_seconds"


def test_a_processor_class_may_be_named_as_a_workload() -> None:
    assert isinstance(resolve("todobatch.processors:TaskReporter", today=TODAY), TaskReporter)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("valid", "unknown workload 'valid'"),
        ("no.such.module:f", "No module named 'no'"),
        ("todobatch.units:nothing", "module todobatch.units has no nothing"),
        ("todobatch.units:show_second", "has no show_second; did you mean show_seconds\\?"),
        ("todobatch.units:__doc__", "is of type str and cannot be called"),
        ("todobatch.model:", "names no function"),
        (":function", "names no module"),
        ("todobatch.units.show_seconds", "did you mean todobatch.units:show_seconds\\?"),
        ("validat", "unknown workload 'validat'; did you mean validate\\?"),
    ],
)
def test_a_workload_that_is_not_there_is_refused_with_the_reason(name: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as caught:
        resolve(name, today=TODAY)
    assert caught.value.place == "`workload`"
    assert caught.value.remedy


def test_a_plain_sequence_is_batch_zero_and_the_result_is_immutable() -> None:
    result = TaskValidator("checker-7", today=TODAY).process_batch([Task("a")])
    assert (result.processor_id, result.batch, result.tasks_processed) == ("checker-7", 0, 1)
    with pytest.raises(AttributeError):
        result.success = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        result.partial["sound"] = 7  # type: ignore[index]


def test_what_is_no_task_at_all_is_a_failed_task() -> None:
    result = TaskValidator(today=TODAY).process_batch([Task("a"), {"title": "x"}])  # type: ignore[list-item]
    assert result.tasks_processed == 1
    assert result.failures[0].title == "{'title': 'x'}"


def test_a_summary_that_fails_fails_the_batch_and_does_not_raise() -> None:
    class Broken(TaskBatchProcessor):
        name = "broken"

        def process_task(self, task: Task) -> int:
            return 1

        def summarise(self, tasks: object, rows: object) -> dict[str, int]:
            raise ZeroDivisionError

    result = Broken(today=TODAY).process_batch([Task("a")])
    assert not result.success
    assert "ZeroDivisionError" in str(result.error)


def test_the_digest_of_long_texts_depends_on_every_one_of_them() -> None:
    long, short = "x" * 5000, "y"
    rows = [long, short, "\ud800" * 2000]
    digests = {
        digest_of(0, rows, {}),
        digest_of(0, [rows[1], rows[0], rows[2]], {}),
        digest_of(0, [long[:-1] + "z", *rows[1:]], {}),
        digest_of(0, [long, "z", rows[2]], {}),
        digest_of(0, [*rows[:2], "\ud801" * 2000], {}),
        digest_of(0, rows, {"text": long}),
        digest_of(0, rows, {"text": long + "x"}),
        digest_of(0, rows, {"texts": long}),
        digest_of(0, [long, 1, rows[2]], {}),
        digest_of(0, [long, ["y"], rows[2]], {}),
        digest_of(1, rows, {}),
    }
    assert len(digests) == 11
    with pytest.raises(TypeError):
        digest_of(0, [long, object()], {})  # type: ignore[list-item]


def test_the_digest_depends_on_position_and_content() -> None:
    assert digest_of(0, [1], {}) != digest_of(1, [1], {})
    assert digest_of(0, [1], {}) != digest_of(0, ["1"], {})
    assert digest_of(0, [{"a": 1, "b": 2}], {}) == digest_of(0, [{"b": 2, "a": 1}], {})


def test_groups_with_names_of_thousands_of_digits_are_sorted() -> None:
    """Python refuses to convert text of more than 4,300 digits to a number."""
    tasks = [Task("a", projects=("9" * 4301,)), Task("b", projects=("10",))]
    reporter = TaskReporter(today=TODAY)
    result = reporter.finish(reporter.process_batch(tasks).partial)
    assert "9" * 4301 in json.dumps(result)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("workload.py:handle", "write workload:handle"),
        ("./workload.py:handle", "write workload:handle"),
        ("./workload:handle", "write workload:handle"),
        ("jobs/daily.py", "write jobs.daily:FUNCTION"),
        ("/srv/jobs/daily.py:handle", "write daily:handle, and add /srv/jobs to PYTHONPATH"),
        ("../daily.py:handle", "write daily:handle, and add .. to PYTHONPATH"),
        ("~/daily.py:handle", "write daily:handle, and add ~ to PYTHONPATH"),
    ],
)
def test_a_path_is_refused_and_the_remedy_names_its_module(path: str, remedy: str) -> None:
    with pytest.raises(UsageError, match="is a path, not the name of a module") as caught:
        resolve(path, today=TODAY)
    assert caught.value.remedy == remedy
