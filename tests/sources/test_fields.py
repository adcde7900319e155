"""Every format parses recurrences, moments and lines in the same way."""

import datetime as dt

import pytest

from tests.sources.conftest import Parse
from todobatch.processors.recurrence import PATTERN, next_due
from todobatch.sources import FieldError, parse_recurrence
from todobatch.sources.fields import LONGEST_LINE, parse_date, parse_moment

RECURRENCES = {
    "1d": "1d", "+1w": "+1w", " 2M ": "2m", "1y": "1y", "+5b": "+5b", "9999d": "9999d",
    "daily": "1d", "weekdays": "1b", "weekly": "1w", "Weekly": "1w", "biweekly": "2w",
    "fortnight": "2w", "sennight": "2w", "monthly": "1m", "bimonthly": "2m", "quarterly": "3m",
    "semiannual": "6m", "annual": "1y", "yearly": "1y", "biannual": "2y", "biyearly": "2y",
    "day": "1d", "10 days": "10d", "2wks": "2w", "3 months": "3m", "3mo": "3m", "2q": "6m",
    "quarter": "3m", "2yrs": "2y", "+weekly": "+1w", "P1D": "1d", "P1W": "1w", "p2w": "2w",
    "P1W2D": "9d", "P3M": "3m", "P1Y": "1y", "P1Y6M": "18m", "+P1M": "+1m",
    "999y": "999y", "P1Y0M0D": "1y", "P0Y0M7D": "7d", "P0Y3M0W0D": "3m", "P1DT0H0M0S": "1d",
}  # fmt: skip
SENSELESS = (
    "", "+", "often", "0d", "P0D", "-1w", "1.5w", "10000d", "4000q", "12hrs", "hourly", "PT12H",
    "+9999y", "P1000Y", "P", "P1M1D", "1w2d", "++1w", "1 0d", "٣d", "1w\n2d",
)  # fmt: skip


@pytest.mark.parametrize(("text", "canonical"), RECURRENCES.items())
def test_a_recurrence_is_brought_to_its_canonical_form(text: str, canonical: str) -> None:
    assert parse_recurrence(text) == canonical
    assert parse_recurrence(canonical) == canonical
    assert PATTERN.fullmatch(canonical)


@pytest.mark.parametrize("longest", ["9999d", "9999b", "9999w", "9999m", "999y"])
def test_what_is_read_can_be_processed(longest: str) -> None:
    today = dt.date(2026, 11, 24)
    assert next_due(parse_recurrence(longest), None, today) > today


@pytest.mark.parametrize("text", SENSELESS)
def test_a_senseless_recurrence_is_a_value_error_that_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="the recurrence") as caught:
        parse_recurrence(text)
    assert isinstance(caught.value, FieldError)
    assert "3d" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["2026-11-24", "20261124", "2026-11-24 12:30", "2026-11-24T12:30:00.5", "20261124T1230"]
)
def test_a_moment_without_a_zone_is_its_own_day(text: str) -> None:
    assert parse_moment(text, "due").isoformat() == "2026-11-24"


@pytest.mark.parametrize("text", ["2026-1-2", "２０２６-11-24", "2026-11-24 ", "", "2026/11/24"])
def test_a_date_has_one_spelling(text: str) -> None:
    with pytest.raises(FieldError, match="is not YYYY-MM-DD"):
        parse_date(text, "due")


def test_leap_years_are_known() -> None:
    assert parse_date("2028-02-29", "due").day == 29
    with pytest.raises(FieldError, match="February 2100 has 28 days"):
        parse_date("2100-02-29", "due")


LINES = {
    "todotxt": (b"%b\n", b""),
    "jsonl": (b'{"title":"%b"}\n', b""),
    "csv": (b"%b\n", b"title\n"),
}


@pytest.mark.parametrize("fmt", LINES)
@pytest.mark.parametrize(
    ("title", "cause"),
    [
        (b"caf\xe9", "(0xe9) is not UTF-8"),
        (b"cut \xf0\x9f", "(0xf0) is not UTF-8"),
        (b"a\0b", "NUL"),
        (b"x" * 10_001, "more than 10,000 characters"),
        (b"x" * 1_000_000, "more than 10,000 characters"),
        ("é".encode() * 10_001, "more than 10,000 characters"),
    ],
)
def test_a_line_that_is_no_text_breaks_alone(
    parse: Parse, fmt: str, title: bytes, cause: str
) -> None:
    line, start = LINES[fmt]
    data = start + line % b"first" + line % title + line % b"last"
    outcome = parse(fmt, data)
    assert outcome.titles == ["first", "last"]
    assert outcome.broken_lines == [2 + start.count(b"\n")]
    assert cause in outcome.broken[0].cause


@pytest.mark.parametrize("fmt", LINES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_byte_order_marks_line_ends_and_a_missing_last_one_do_not_matter(
    parse: Parse, fmt: str, end: bytes, mark: bytes
) -> None:
    line, start = LINES[fmt]
    data = start + line % "Käse".encode() + line % b"last"
    outcome = parse(fmt, mark + data.removesuffix(b"\n").replace(b"\n", end))
    assert (outcome.titles, outcome.broken) == (["Käse", "last"], [])


@pytest.mark.parametrize("letter", ["x", "é", "🎻"])
def test_the_longest_line_is_read(parse: Parse, letter: str) -> None:
    title = letter * LONGEST_LINE
    assert parse("todotxt", title).titles == [title]
    assert parse("todotxt", f"\ufeff{title}\r\nlast").titles == [title, "last"]
