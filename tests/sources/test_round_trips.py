"""A task that is written in a format is read back equal, whatever its title."""

import csv
import datetime as dt
import io
import json
import re
from dataclasses import asdict, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.sources.conftest import Parse
from todobatch.model import Task

DATES = st.none() | st.dates()
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"))
TITLES = st.text(CHARACTERS, min_size=1, max_size=60).map(str.strip).filter(bool)
# A word without what separates words in any of the formats.
WORDS = st.text(CHARACTERS.filter(lambda c: c != ";" and not c.isspace()), min_size=1, max_size=9)
RECURRENCES = st.none() | st.builds(
    "{}{}".format,
    st.sampled_from(["", "+"]),
    st.builds("{}{}".format, st.integers(1, 9999), st.sampled_from("dbwm"))
    | st.builds("{}y".format, st.integers(1, 999)),
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    done = draw(st.booleans())
    open_statuses = st.sampled_from(["pending", "waiting", "overdue"])
    return Task(
        title=draw(TITLES),
        priority=draw(st.integers(1, 10)),
        done=done,
        due=draw(DATES),
        created=draw(DATES),
        completed=draw(DATES) if done else None,
        projects=tuple(draw(st.lists(WORDS, max_size=3))),
        contexts=tuple(draw(st.lists(WORDS, max_size=3))),
        recurrence=draw(RECURRENCES),
        status="completed" if done else draw(open_statuses),
    )


def plain(task: Task) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, dt.date) else value
        for name, value in asdict(task).items()
    }


def as_jsonl(items: list[Task]) -> str:
    return "".join(json.dumps(plain(task)) + "\n" for task in items)


def as_csv(items: list[Task]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(Task(""))))
    writer.writeheader()
    for task in items:
        row = plain(task)
        writer.writerow(row | {k: ";".join(row[k]) for k in ("projects", "contexts")})
    return text.getvalue()


def as_todotxt(items: list[Task]) -> str:
    return "".join(_todotxt_line(task) + "\n" for task in items)


def _todotxt_line(task: Task) -> str:
    parts = [
        "x" if task.done else "",
        f"({'ABCDEFGHIJ'[task.priority - 1]})",
        str(task.completed or ""),
        str(task.created or ""),
        task.title,
        *(f"+{word}" for word in task.projects),
        *(f"@{word}" for word in task.contexts),
        f"due:{task.due}" if task.due else "",
        f"rec:{task.recurrence}" if task.recurrence else "",
    ]
    return " ".join(part for part in parts if part)


def as_taskwarrior(items: list[Task]) -> str:
    names = {"title": "description", "created": "entry", "completed": "end", "recurrence": "recur"}
    return json.dumps(
        [
            {names.get(name, name): value for name, value in plain(task).items() if value}
            | {"tags": task.contexts, "project": "".join(task.projects), "priority": "L"}
            for task in items
        ],
        indent=1,
        ensure_ascii=False,
    )


@given(st.lists(tasks(), max_size=4))
def test_json_lines_give_back_what_was_written(parse: Parse, items: list[Task]) -> None:
    outcome = parse("jsonl", as_jsonl(items))
    assert (outcome.tasks, outcome.broken) == (items, [])


@given(st.lists(tasks(), max_size=4))
def test_csv_gives_back_what_was_written(parse: Parse, items: list[Task]) -> None:
    outcome = parse("csv", as_csv(items))
    assert (outcome.tasks, outcome.broken) == (items, [])


# That format has no escapes: a title is words that mean nothing else, a blank between them.
PLAIN_TITLES = st.lists(
    WORDS.filter(lambda word: ":" not in word and word[0] not in "+@#(x0123456789"), min_size=1
).map(" ".join)


@given(st.lists(st.tuples(tasks(), PLAIN_TITLES), max_size=4))
def test_todotxt_gives_back_what_was_written(parse: Parse, pairs: list[tuple[Task, str]]) -> None:
    items = [
        replace(
            task,
            title=title,
            # A creation date stands behind a completion date only.
            created=None if task.done and task.completed is None else task.created,
            status="completed" if task.done else "pending",
        )
        for task, title in pairs
    ]
    outcome = parse("todotxt", as_todotxt(items))
    assert (outcome.tasks, outcome.broken) == (items, [])


@given(st.lists(tasks(), max_size=4))
def test_an_export_gives_back_what_taskwarrior_can_hold(parse: Parse, items: list[Task]) -> None:
    items = [
        replace(
            task,
            priority=9,
            projects=task.projects[:1],
            recurrence=task.recurrence and "+" + task.recurrence.removeprefix("+"),
            status="completed" if task.done else "pending",
        )
        for task in items
    ]
    written = as_taskwarrior(items).replace('"recur": "+', '"recur": "')
    outcome = parse("taskwarrior", written)
    assert (outcome.tasks, outcome.broken) == (items, [])


@given(st.binary(max_size=300))
def test_no_bytes_whatever_make_a_reader_of_lines_fail(parse: Parse, data: bytes) -> None:
    for fmt in ("todotxt", "jsonl"):
        outcome = parse(fmt, b"first\n" + data)
        assert fmt == "jsonl" or outcome.titles[:1] == ["first"]
        assert fmt == "todotxt" or outcome.broken_lines[:1] == [1]
        assert outcome.broken_lines == sorted(set(outcome.broken_lines))


@given(st.lists(st.sampled_from([*'[]{}",:\n \\', "description", "1", "é", "\udce9"])))
def test_no_text_whatever_makes_the_reader_of_exports_fail(parse: Parse, parts: list[str]) -> None:
    data = "".join(parts).encode(errors="surrogateescape")
    outcome = parse("taskwarrior", data + b'\n{"description":"last"}')
    found = outcome.titles[-1:] == ["last"] or outcome.broken
    assert found


@given(st.lists(st.sampled_from([*'",\n\r ;', "a", "7", "é", "\udce9"])))
def test_no_text_whatever_makes_the_reader_of_csv_fail(parse: Parse, parts: list[str]) -> None:
    data = "".join(parts).encode(errors="surrogateescape")
    outcome = parse("csv", b"title,priority\nfirst,1\n" + data)
    assert outcome.titles[:1] == ["first"]
    lines = len(re.findall(rb"\r\n?|\n", data)) + 3
    assert all(3 <= error.line <= lines for error in outcome.broken)
