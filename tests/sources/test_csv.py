"""CSV is read: the header, quotes, and broken records."""

import datetime as dt

import pytest

from tests.sources.conftest import Parse
from todobatch.errors import InputError
from todobatch.model import Task


def test_a_row_is_read_into_its_fields_in_any_order_and_case_of_columns(parse: Parse) -> None:
    outcome = parse(
        "csv",
        "Done, PRIORITY ,title,due,projects,contexts,recurrence\r\n"
        'yes,2,"Call ""mum"", then pa",2026-11-24,home;big.plan,phone office,+1w\r\n',
    )
    assert outcome.broken == []
    assert outcome.tasks == [
        Task(
            title='Call "mum", then pa',
            priority=2,
            done=True,
            due=dt.date(2026, 11, 24),
            projects=("home", "big.plan"),
            contexts=("phone", "office"),
            recurrence="+1w",
            status="completed",
        )
    ]


def test_empty_cells_are_not_given_and_empty_rows_are_skipped(parse: Parse) -> None:
    outcome = parse("csv", "title,priority,done\n\na,,\n,,\nb,3,no\n")
    assert outcome.tasks == [Task("a"), Task("b", priority=3)]
    assert outcome.broken == []


def test_unknown_columns_are_counted(parse: Parse) -> None:
    outcome = parse("csv", "title,owner\na,me\nb,you\n")
    assert (outcome.titles, outcome.skipped) == (["a", "b"], {"unknown column 'owner'": 1})


def test_a_quoted_field_may_hold_line_ends_and_lines_are_counted_on(parse: Parse) -> None:
    outcome = parse("csv", 'title,priority\r\n"two\r\nlines",1\r\nbad,99\r\n"three\n\nlines",x\r\n')
    assert outcome.titles == ["two\nlines"]
    assert outcome.broken_lines == [4, 5]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("a,11,", "the priority 11 is not between 1 and 10"),
        ("a,-1,", "the priority -1 is not between 1 and 10"),
        ("a,1.5,", "the priority '1.5' is not a whole number"),
        ("a,,2026-02-30", "February 2026 has 28 days"),
        (" ,3,", "there is no title"),
        ("a,3", "the row has 2 fields, the header has 3"),
        ("a, b,3,", "the row has 4 fields, the header has 3"),
        ('"a"b,3,', "not CSV"),
        ('"never closed,3,', "not CSV"),  # the next line's quote ends it in the middle of a word
    ],
)
def test_a_broken_row_is_named_and_the_others_are_read(parse: Parse, row: str, cause: str) -> None:
    outcome = parse("csv", f'title,priority,due\nfirst,1,\n{row}\n"last, but one",2,\nlast,3,\n')
    assert outcome.titles == ["first", "last, but one", "last"]
    assert outcome.broken_lines == [3]
    assert cause in outcome.broken[0].cause


def test_a_quote_that_is_never_closed_costs_its_line_and_not_the_file(parse: Parse) -> None:
    rows = "".join(f"task {k},\n" for k in range(5000))
    outcome = parse("csv", f'title,priority\n"open,\n{rows}"open,\nlast,2\n')
    assert outcome.titles == [*(f"task {k}" for k in range(5000)), "last"]
    assert outcome.broken_lines == [2, 5003]
    assert all("a quote that is opened here" in error.cause for error in outcome.broken)


@pytest.mark.parametrize(
    ("header", "cause", "remedy"),
    [
        ("name,priority", "no column 'title'", "title, priority, done"),
        ("title;priority", "no column 'title'", "separated by ';'"),
        ("title,due,Due", "names the column 'due' twice", "rename or remove"),
    ],
)
def test_a_senseless_header_refuses_the_file(
    parse: Parse, header: str, cause: str, remedy: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse("csv", f"\n{header}\na,1\n")
    assert caught.value.place == "tasks.in:2"
    assert cause in caught.value.cause
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("text", ["", "\n\n", "title,priority\n"])
def test_a_file_without_rows_has_no_tasks(parse: Parse, text: str) -> None:
    outcome = parse("csv", text)
    assert (outcome.tasks, outcome.broken) == ([], [])
