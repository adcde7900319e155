"""JSON Lines is read: the keys, and broken records."""

import datetime as dt
import json
from typing import Any

import pytest

from tests.sources.conftest import Parse
from todobatch.model import Task


def one(parse: Parse, **values: Any) -> Task:
    outcome = parse("jsonl", json.dumps({"title": "Call mum", **values}))
    assert outcome.broken == []
    (task,) = outcome.tasks
    return task


def test_a_whole_line_is_read_into_its_fields(parse: Parse) -> None:
    task = one(
        parse,
        priority=2,
        done=True,
        due="2026-11-24",
        created="2026-11-01",
        completed="2026-11-20T08:00:00",
        projects=["big plan", "home"],
        contexts="phone; office",
        recurrence="weekly",
    )
    assert task == Task(
        title="Call mum",
        priority=2,
        done=True,
        due=dt.date(2026, 11, 24),
        created=dt.date(2026, 11, 1),
        completed=dt.date(2026, 11, 20),
        projects=("big plan", "home"),
        contexts=("phone", "office"),
        recurrence="1w",
        status="completed",
    )


def test_only_the_title_is_needed_and_null_or_blank_is_not_given(parse: Parse) -> None:
    assert one(parse) == Task("Call mum")
    assert one(parse, priority=None, due=" ", projects=None, done=None) == Task("Call mum")


@pytest.mark.parametrize(
    ("given", "done"),
    [(True, True), (False, False), (1, True), (0, False), ("Yes", True), ("no", False)],
)
def test_done_is_true_or_false_in_several_spellings(parse: Parse, given: Any, done: bool) -> None:
    assert one(parse, done=given).done is done


def test_a_status_says_whether_it_is_done(parse: Parse) -> None:
    assert one(parse, status="completed").done is True
    assert one(parse, status="overdue").status == "overdue"


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ({"priority": 1}, "there is no title"),
        ({"title": "  "}, "there is no title"),
        ({"title": 5}, "the title 5 is not text"),
        ({"title": "a\nb\0"}, "the control character U+0000"),
        ({"title": "a", "priority": 0}, "the priority 0 is not between 1 and 10"),
        ({"title": "a", "priority": 11}, "the priority 11 is not between 1 and 10"),
        ({"title": "a", "priority": True}, "the priority True is not a whole number"),
        ({"title": "a", "priority": 2.5}, "the priority 2.5 is not a whole number"),
        ({"title": "a", "priority": "high"}, "the priority 'high' is not a whole number"),
        ({"title": "a", "done": "maybe"}, "done is 'maybe'"),
        ({"title": "a", "done": 1.0}, "done is 1.0"),
        ({"title": "a", "done": True, "status": "pending"}, "the status is 'pending'"),
        ({"title": "a", "status": "lost"}, "the status 'lost' is unknown"),
        ({"title": "a", "due": "2026-02-30"}, "February 2026 has 28 days"),
        ({"title": "a", "due": "0000-01-01"}, "there is no year 0"),
        ({"title": "a", "due": "24.11.2026"}, "is not ISO 8601"),
        ({"title": "a", "due": "2026-W48-2"}, "is not ISO 8601"),
        ({"title": "a", "due": 20261124}, "is not text"),
        ({"title": "a", "projects": 3}, "projects is 3"),
        ({"title": "a", "contexts": [1]}, "the item of contexts 1 is not text"),
        (
            {"title": "a", "recurrence": "0d"},
            "the count of the recurrence '0d' is not between 1 and 9999",
        ),
        ({"title": "a", "recurrence": 7}, "the recurrence 7 is not text"),
    ],
)
def test_a_broken_record_is_named_and_the_others_are_read(
    parse: Parse, values: dict[str, Any], cause: str
) -> None:
    outcome = parse("jsonl", f'{{"title":"a"}}\n\n{json.dumps(values)}\n{{"title":"b"}}')
    assert outcome.titles == ["a", "b"]
    assert outcome.broken_lines == [3]
    assert cause in outcome.broken[0].cause


@pytest.mark.parametrize(
    "line",
    [
        '{"title":',
        "[1, 2]",
        "null",
        '"a"',
        "a",
        "[" * 9_000,
        '{"title":"a","x":' + "9" * 5_000 + "}",
    ],
)
def test_a_line_that_is_no_json_object_is_broken(parse: Parse, line: str) -> None:
    outcome = parse("jsonl", f'{line}\n{{"title":"b"}}\n')
    assert (outcome.titles, outcome.broken_lines) == (["b"], [1])


def test_a_key_that_is_given_twice_breaks_its_record(parse: Parse) -> None:
    lines = (
        '{"title":"a","title":"b"}',
        '{"title":"a","x":1,"due":null,"x":1}',
        '{"title":"c","x":{"y":1,"y":2}}',  # nothing is read from an object in a record
    )
    outcome = parse("jsonl", "\n".join(lines))
    assert (outcome.titles, outcome.broken_lines) == (["c"], [1, 2])
    assert [error.cause for error in outcome.broken] == [
        "the key 'title' appears twice", "the key 'x' appears twice"
    ]  # fmt: skip
    assert outcome.broken[0].remedy == "give each key once"


def test_a_number_of_thousands_of_digits_is_named_so(parse: Parse) -> None:
    outcome = parse("jsonl", '{"title":"a","priority":' + "9" * 5_000 + "}")
    assert outcome.broken[0].cause == "a number has more than 4,300 digits"
    outcome = parse("jsonl", '{"title":"a","priority":' + "9" * 4_000 + "}")
    assert len(outcome.broken[0].cause) < 120


def test_an_error_shows_the_beginning_of_a_long_value_only(parse: Parse) -> None:
    outcome = parse("jsonl", json.dumps({"title": "a", "due": "9" * 5_000}))
    assert len(outcome.broken[0].cause) < 120


def test_unknown_keys_are_counted(parse: Parse) -> None:
    outcome = parse("jsonl", '{"title":"a","owner":"me"}\n{"title":"b","owner":"you","id":7}\n')
    assert outcome.titles == ["a", "b"]
    assert outcome.skipped == {"unknown key 'owner'": 2, "unknown key 'id'": 1}


def test_a_file_of_random_keys_does_not_grow_what_is_counted(parse: Parse) -> None:
    lines = "\n".join(json.dumps({"title": "a", f"key {k}": 1}) for k in range(1000))
    assert len(parse("jsonl", lines).skipped) == 100
