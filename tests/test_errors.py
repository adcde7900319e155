"""The error classes have the texts and exit codes that their module's tree shows."""

import pickle
import re

import pytest

from todobatch import errors
from todobatch.errors import BrokenLineError, TodobatchError, UsageError

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, TodobatchError)
]


def test_an_error_tells_cause_place_and_remedy() -> None:
    error = UsageError("0 workers", place="--workers", remedy="1 or more")
    assert str(error) == "--workers: 0 workers\n  remedy: 1 or more"
    assert str(UsageError("0 workers")) == "0 workers"


def test_a_broken_line_names_file_and_line() -> None:
    assert str(BrokenLineError("bad date", file="a.txt", line=7)) == "a.txt:7: bad date"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_survives_pickling(kind: type[TodobatchError]) -> None:
    error = (
        BrokenLineError("c", file="f", line=1, remedy="r")
        if kind is BrokenLineError
        else kind("c", place="f:1", remedy="r")
    )
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)


@pytest.mark.parametrize("kind", CLASSES)
def test_the_drawing_names_every_error_with_its_exit_code(kind: type[TodobatchError]) -> None:
    drawn = re.search(rf"\b{kind.__name__} +(\d+)", errors.__doc__ or "")
    assert drawn is not None
    assert int(drawn[1]) == kind.exit_code
    assert kind.__doc__


def test_a_line_break_in_a_part_cannot_look_like_a_line_of_ours() -> None:
    error = UsageError("a\n  remedy: run rm -rf", place="x\ny", remedy="do\x1b[2J this")
    assert str(error).count("\n") == 1
    assert "\x1b" not in str(error)
