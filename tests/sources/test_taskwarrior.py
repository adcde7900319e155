"""Taskwarrior's export is read: the mapping, layouts of the array, and broken objects."""

import datetime as dt
import json
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sources.conftest import Parse
from todobatch.model import Task


def one(parse: Parse, **values: Any) -> Task:
    outcome = parse("taskwarrior", json.dumps([{"description": "Call mum", **values}]))
    assert outcome.broken == []
    (task,) = outcome.tasks
    return task


def objects(count: int) -> list[dict[str, Any]]:
    return [
        {
            "description": f"task {k}",
            "status": "pending",
            "annotations": [{"description": "{[note"}],
        }
        for k in range(count)
    ]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def test_a_whole_object_is_read_into_its_fields(parse: Parse, zone: Any) -> None:
    zone("UTC")
    task = one(
        parse,
        status="completed",
        priority="H",
        due="20261124T120000Z",
        entry="20261101T080000Z",
        end="20261120T093000Z",
        project="work.web.shop",
        tags=["phone", "office"],
        recur="weekly",
        uuid="0",
        urgency=3.2,
    )
    assert task == Task(
        title="Call mum",
        priority=1,
        done=True,
        due=dt.date(2026, 11, 24),
        created=dt.date(2026, 11, 1),
        completed=dt.date(2026, 11, 20),
        projects=("work.web.shop",),
        contexts=("phone", "office"),
        recurrence="+1w",
        status="completed",
    )


@pytest.mark.parametrize(("given", "priority"), [("H", 1), ("M", 5), ("L", 9), ("", 5), (None, 5)])
def test_high_medium_and_low_are_one_five_and_nine(
    parse: Parse, given: str | None, priority: int
) -> None:
    assert one(parse, priority=given).priority == priority


def test_a_moment_becomes_the_local_day(parse: Parse, zone: Any) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    assert one(parse, due="20261123T230000Z").due == dt.date(2026, 11, 24)
    zone("UTC")
    assert one(parse, due="20261123T230000Z").due == dt.date(2026, 11, 23)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({}, "pending"),
        ({"status": "pending"}, "pending"),
        ({"status": "waiting"}, "waiting"),
        ({"status": "pending", "wait": "20261225T120000Z"}, "waiting"),
        ({"status": "waiting", "wait": "20261101T120000Z"}, "pending"),
        ({"status": "completed", "wait": "20261225T120000Z"}, "completed"),
    ],
)
def test_a_task_waits_while_its_wait_is_to_come(
    parse: Parse, values: dict[str, str], status: str
) -> None:
    task = one(parse, **values)
    assert (task.status, task.done) == (status, status == "completed")


def test_deleted_tasks_and_templates_are_left_out_and_counted(parse: Parse) -> None:
    statuses = ["pending", "deleted", "recurring", "deleted"]
    export = [{"description": status, "status": status} for status in statuses]
    outcome = parse("taskwarrior", json.dumps(export))
    assert outcome.titles == ["pending"]
    assert outcome.skipped == {"deleted task": 2, "recurring template": 1}
    assert outcome.broken == []


@pytest.mark.parametrize("priority", ["U", "h", 3, 0.5])
def test_a_priority_of_the_users_own_is_the_default_and_counted(
    parse: Parse, priority: object
) -> None:
    """Since Taskwarrior 2.4.3, ``uda.priority.values`` may name others than H, M and L."""
    outcome = parse("taskwarrior", json.dumps([{"description": "a", "priority": priority}]))
    assert [task.priority for task in outcome.tasks] == [5]
    assert outcome.skipped == {f"priority {priority!r} of your own": 1}


def test_a_blank_project_is_none(parse: Parse) -> None:
    assert one(parse, project="  ").projects == ()


@pytest.mark.parametrize(
    "line",
    ["Configuration override rc.json.array:on", "TASKRC override: rc", "Using alternate [.task"],
)
def test_a_message_before_the_array_is_one_broken_record(parse: Parse, line: str) -> None:
    outcome = parse("taskwarrior", f"{line}\n{SHAPES['one object a line'](objects(3))}")
    assert (len(outcome.tasks), outcome.broken_lines) == (3, [1])


@pytest.mark.parametrize("end", ["", '"}'])
def test_an_object_that_is_too_long_is_named_so(parse: Parse, end: str) -> None:
    long = '{"annotations":[' + '{"description":"note"},' * 20_000 + '{"description":"' + end
    outcome = parse("taskwarrior", f"[\n{long}]}},\n{json.dumps(objects(1)[0])}\n]")
    assert outcome.titles == ["task 0"]
    assert outcome.broken[0].cause == "the object has more than 262,144 characters"


SHAPES: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "one object a line": lambda items: "[\n" + ",\n".join(map(json.dumps, items)) + "\n]\n",
    "opened on the first line": lambda items: "[" + ",\n".join(map(json.dumps, items)) + "]",
    "on one line": json.dumps,
    "pretty-printed": lambda items: json.dumps(items, indent=2),
    "CRLF": lambda items: json.dumps(items, indent=2).replace("\n", "\r\n"),
    "without an array": lambda items: "\n".join(map(json.dumps, items)),
    "two arrays": lambda items: json.dumps(items[:5]) + "\n" + json.dumps(items[5:]),
    "byte order mark": lambda items: "\ufeff" + json.dumps(items),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [0, 1, 9, 3000])
def test_every_shape_of_the_export_is_read(parse: Parse, shape: str, count: int) -> None:
    outcome = parse("taskwarrior", SHAPES[shape](objects(count)))
    assert outcome.broken == []
    assert outcome.titles == [f"task {k}" for k in range(count)]


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"status": "pending"}, "there is no description"),
        ({"description": "  "}, "the title is empty"),
        ({"description": 7}, "the description 7 is not text"),
        ({"description": "a\0b"}, "the control character U+0000"),
        ({"description": "\ud800"}, "an unpaired surrogate"),
        ({"description": "a", "priority": ["H"]}, "the priority ['H'] is not text"),
        ({"description": "a", "due": "20260230T120000Z"}, "February 2026 has 28 days"),
        ({"description": "a", "due": "20260101T250000Z"}, "is impossible"),
        ({"description": "a", "due": "soon"}, "the due date 'soon' is not ISO 8601"),
        ({"description": "a", "due": 1413608551}, "is not text"),
        ({"description": "a", "due": "00010101T000000+2359"}, "is impossible"),
        ({"description": "a", "recur": "12hrs"}, "the recurrence '12hrs' is not understood"),
        ({"description": "a", "status": "lost"}, "the status 'lost' is unknown"),
        ({"description": "a", "status": []}, "the status [] is not text"),
        ({"description": "a", "tags": "phone"}, "tags is 'phone'"),
    ],
)
def test_a_broken_object_is_named_by_its_line_and_the_others_are_read(
    parse: Parse, values: dict[str, Any], cause: str
) -> None:
    outcome = parse("taskwarrior", SHAPES["one object a line"]([*objects(2), values, *objects(1)]))
    assert outcome.titles == ["task 0", "task 1", "task 0"]
    assert [(error.line, error.file) for error in outcome.broken] == [(4, "tasks.in")]
    assert cause in outcome.broken[0].cause


@pytest.mark.parametrize(
    "text",
    [
        '{"description":"cut off","status":"pend',
        '{"description" "no colon"},',
        '{"description":"a","description":},',
        "{]},",
        "3,",
        '"text",',
        "null,",
        "}}",
        '{"description":' + "[" * 50_000 + ",",
        '{"description":' + "9" * 5_000 + "},",
        '{"description":"long' + "x" * 400_000 + '"},',
    ],
)
def test_reading_goes_on_at_the_next_line_behind_what_is_not_json(parse: Parse, text: str) -> None:
    good = json.dumps(objects(1)[0])
    last = json.dumps({"description": "last", "due": "never"})
    outcome = parse("taskwarrior", f"[\n{good},\n{text}\n{good},\n{good},\n{last}\n]\n")
    assert outcome.titles == ["task 0"] * 3
    assert outcome.broken_lines == [3, 6]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ('{"description":"a","status":"deleted","status":"pending"},', "the key 'status' appears"),
        ('{"description":' + "9" * 5_000 + "},", "a number has more than 4,300 digits"),
    ],
)
def test_what_python_would_lose_or_refuse_is_said_plainly(
    parse: Parse, text: str, cause: str
) -> None:
    good = json.dumps({"description": "good", "annotations": [{"a": 1}]}).replace(
        '"a": 1', '"a": 1, "a": 2'
    )
    outcome = parse("taskwarrior", f"[\n{text}\n{good}\n]\n")
    assert (outcome.titles, outcome.broken_lines) == (["good"], [2])
    assert outcome.broken[0].cause.startswith(cause)


@pytest.mark.parametrize(
    ("data", "byte"),
    [
        (pickle.dumps(list(range(300)), protocol=4), "0x80"),
        (b"PK\x03\x04\x14\0\0\0\x08\0", "0x03"),
        (b"\x1f\x8b\x08\0", "0x1f"),
    ],
)
def test_a_file_that_is_no_text_is_called_that(parse: Parse, data: bytes, byte: str) -> None:
    outcome = parse("taskwarrior", data)
    assert outcome.tasks == []
    assert outcome.broken[0].cause == f"this is not UTF-8 text: it holds the byte {byte}"


def test_a_broken_object_far_into_a_long_export_costs_itself_only(parse: Parse) -> None:
    lines = [json.dumps(item) for item in objects(5000)]
    lines[3] = lines[2500] = lines[4999] = '{"description": "broken'
    outcome = parse("taskwarrior", "[\n" + ",\n".join(lines) + "\n]\n")
    assert len(outcome.tasks) == 4997
    assert outcome.broken_lines == [5, 2502, 5001]


def test_annotations_of_a_broken_pretty_printed_task_are_not_taken_for_tasks(parse: Parse) -> None:
    text = json.dumps(objects(3), indent=2)
    broken = text.replace('"status": "pending",', '"status" "pending",', 1)
    outcome = parse("taskwarrior", broken)
    assert (outcome.titles, outcome.broken_lines) == (["task 1", "task 2"], [2])


def test_what_cannot_be_read_behind_a_broken_object_on_one_line_is_said(parse: Parse) -> None:
    text = json.dumps(objects(3)).replace('"status"', "status", 1)
    outcome = parse("taskwarrior", text)
    assert outcome.tasks == []
    assert "the rest is not read" in outcome.broken[-1].cause


def test_a_broken_last_object_does_not_hide_the_end_of_the_array(parse: Parse) -> None:
    outcome = parse("taskwarrior", '[\n{"description":"a"},\n{"description" "b"}\n]\n')
    assert (outcome.titles, outcome.broken_lines) == (["a"], [3])


def test_a_file_that_is_cut_off_is_reported(parse: Parse) -> None:
    outcome = parse("taskwarrior", '[\n{"description":"a"},\n{"description":"b"},\n')
    assert outcome.titles == ["a", "b"]
    assert "the array is not closed" in outcome.broken[0].cause


def test_a_byte_that_is_not_utf8_breaks_its_object_only(parse: Parse) -> None:
    text = SHAPES["one object a line"](objects(3)).encode().replace(b"task 1", b"t\xe4sk 1")
    outcome = parse("taskwarrior", text)
    assert (outcome.titles, outcome.broken_lines) == (["task 0", "task 2"], [3])
    assert "byte 0xe4 is not UTF-8" in outcome.broken[0].cause


def test_letters_cut_by_the_end_of_a_piece_are_read_whole(parse: Parse) -> None:
    titles = ["é" * length + "🎻" for length in range(1, 700)]
    text = json.dumps([{"description": title} for title in titles], ensure_ascii=False)
    assert len(text.encode()) > 4 * 65_536
    assert parse("taskwarrior", text).titles == titles
