"""todo.txt is read: the mapping, and broken lines."""

import builtins
import datetime as dt
import sys
from typing import Any

import pytest

from tests.sources.conftest import Parse
from todobatch.errors import ExtraMissingError
from todobatch.model import Task
from todobatch.sources import todotxt


def one(parse: Parse, line: str) -> Task:
    outcome = parse("todotxt", line)
    assert outcome.broken == []
    (task,) = outcome.tasks
    return task


def test_a_whole_line_is_read_into_its_fields(parse: Parse) -> None:
    line = "(B) 2026-01-02 Call mum +family @phone +big.plan due:2026-12-01 rec:+1w @home"
    assert one(parse, line) == Task(
        title="Call mum",
        priority=2,
        due=dt.date(2026, 12, 1),
        created=dt.date(2026, 1, 2),
        projects=("family", "big.plan"),
        contexts=("phone", "home"),
        recurrence="+1w",
    )


@pytest.mark.parametrize(
    ("letter", "priority"),
    [("A", 1), ("B", 2), ("E", 5), ("I", 9), ("J", 10), ("K", 10), ("Z", 10)],
)
def test_letters_are_priorities_one_to_ten_and_ten_from_there_on(
    parse: Parse, letter: str, priority: int
) -> None:
    assert one(parse, f"({letter}) Call mum").priority == priority
    assert one(parse, f"x Call mum pri:{letter}").priority == priority


def test_without_a_priority_it_is_five(parse: Parse) -> None:
    assert one(parse, "Call mum").priority == 5


@pytest.mark.parametrize(
    "title", ["(a) Call mum", "(ASAP) call mum", "(A)ll of it", "Call (A) mum"]
)
def test_what_todotxt_does_not_call_a_priority_stays_in_the_title(parse: Parse, title: str) -> None:
    assert (one(parse, title).title, one(parse, title).priority) == (title, 5)


@pytest.mark.parametrize(
    "head",
    ["x 2026-05-20 2026-04-30", "x (A) 2026-05-20 2026-04-30", "x 2026-05-20 (A) 2026-04-30"],
)
def test_a_done_task_has_its_completion_date_first_wherever_its_priority_is(
    parse: Parse, head: str
) -> None:
    task = one(parse, f"{head} Call mum")
    assert (task.completed, task.created) == (dt.date(2026, 5, 20), dt.date(2026, 4, 30))
    assert (task.title, task.done, task.status) == ("Call mum", True, "completed")


def test_a_done_task_may_have_one_date_or_none(parse: Parse) -> None:
    assert one(parse, "x Call mum").completed is None
    with_priority = one(parse, "x (C) 2026-05-20 Call mum")
    assert (with_priority.completed, with_priority.created) == (dt.date(2026, 5, 20), None)


def test_a_word_that_begins_with_x_is_no_mark(parse: Parse) -> None:
    assert one(parse, "xylophone lesson").done is False


@pytest.mark.parametrize(
    "title", ["Meet at 10:30", "Note: buy milk", "Read https://example.org/a?b:c", "Work out 1 + 1"]
)
def test_words_that_are_no_metadata_stay_in_the_title(parse: Parse, title: str) -> None:
    assert one(parse, f"{title} +home").title == title


def test_a_task_waits_until_its_threshold_has_come(parse: Parse) -> None:
    assert one(parse, "Sow t:2026-11-25").status == "waiting"
    assert one(parse, "Sow t:2026-11-24").status == "pending"
    assert one(parse, "x Sow t:2026-11-25").status == "completed"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "Pay due:2026-02-30",
            "the due date '2026-02-30' is impossible: February 2026 has 28 days",
        ),
        ("Pay due:2026-13-01", "there is no month 13"),
        ("Pay due:tomorrow", "is not YYYY-MM-DD"),
        ("Pay due: 2026-12-01", "'due:' has no value"),
        ("Pay due:2026-12-01 due:2026-12-02", "'due:' is given twice"),
        ("2026-02-30 Pay", "the leading date '2026-02-30' is impossible"),
        ("x 2026-06-31 Pay", "June 2026 has 30 days"),
        ("x (A) 2026-06-01 2026-04-31 Pay", "April 2026 has 30 days"),
        ("Pay t:2026-02-29", "February 2026 has 28 days"),
        ("Pay pri:99", "the priority 99 is not between 1 and 10"),
        ("Pay pri:0", "the priority 0 is not between"),
        ("Pay pri:high", "the priority 'high' is not a whole number"),
        ("(A) Pay pri:B", "the priorities (A) and pri:B differ"),
        ("Pay rec:often", "the recurrence 'often' is not understood"),
        ("(A) 2026-01-01 +home @phone due:2026-12-01", "the title is empty"),
        ("x 2026-01-01", "the title is empty"),
        ("Pay\x1b[2J the bill", "the control character U+001B"),
        *((f"left{sign}right", f"U+{ord(sign):04X}") for sign in "\v\f\x1c\x1d\x1e\x1f\x85\x9b"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(
    parse: Parse, line: str, cause: str
) -> None:
    outcome = parse("todotxt", f"first\n\n{line}\nlast\n")
    assert outcome.titles == ["first", "last"]
    (error,) = outcome.broken
    assert (error.file, error.line, error.place) == ("tasks.in", 3, "tasks.in:3")
    assert cause in error.cause


def test_blank_lines_and_comments_are_skipped_but_counted_as_lines(parse: Parse) -> None:
    outcome = parse("todotxt", "# mine\n\n   \nfirst\n#second\nlast due:no\n")
    assert (outcome.titles, outcome.broken_lines) == (["first"], [6])
    assert outcome.skipped == {"comment line": 2}


def test_without_pytodotxt_the_error_says_what_to_install(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pytodotxt", None)
    todotxt._parser.cache_clear()
    with pytest.raises(ExtraMissingError, match=r"pip install pytodotxt"):
        parse("todotxt", "first\n")


def test_the_library_is_not_imported_before_a_file_is_read(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    original = builtins.__import__

    def watch(name: str, *args: Any, **kwargs: Any) -> Any:
        imported.append(name)
        return original(name, *args, **kwargs)

    todotxt._parser.cache_clear()
    monkeypatch.setattr(builtins, "__import__", watch)
    assert parse("jsonl", "").tasks == []
    assert "pytodotxt" not in imported
    assert parse("todotxt", "").tasks == []
    assert "pytodotxt" in imported
