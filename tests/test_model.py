"""The records are immutable, small when pickled, and comparable."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from todobatch import Batch, BatchReport, ProcessingResult, Task, TaskFailure, model, run_batches
from todobatch.model import (
    LONGEST_ERROR,
    Frame,
    WorkerSeen,
    describe_exception,
    frame_of,
)


def _result() -> ProcessingResult:
    return ProcessingResult(
        "p", 1, 0.5, success=False, error="e", partial={"a": {"b": 1}}, digest=7,
        failures=(TaskFailure(3, "t", "ValueError: x", Frame("a.py", 2, "f")),),
        seen=WorkerSeen("thread-1", 5),
    )  # fmt: skip


@pytest.mark.parametrize("record", [Task("a", 3), Batch(1, (Task("a"),), 100), _result()])
def test_records_survive_pickling_and_copying(record: object) -> None:
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record


def test_a_whole_report_survives_pickling() -> None:
    report = run_batches([Task("a")], "report", executor="sequential")
    assert isinstance(report, BatchReport)
    assert pickle.loads(pickle.dumps(report)) == report


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Task("a").title = "b"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        _result().error = None  # type: ignore[misc]


def test_a_task_has_the_documents_defaults() -> None:
    task = Task("a")
    assert (task.priority, task.done, task.due) == (5, False, None)


def test_an_exception_is_described_on_one_line() -> None:
    assert describe_exception(ValueError("two\nlines")) == "ValueError: two lines"
    assert describe_exception(KeyError()) == "KeyError"


def _raised(function: Callable[[], object]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class _ExitsError(ValueError):
    def __getattr__(self, name: str) -> object:
        raise SystemExit("connection lost")


def _hidden_error(text: str) -> ValueError:
    """Return an exception whose class hides its name, in here so that no tool of tests meets it."""

    class Hiding(type):
        def __getattribute__(cls, name: str) -> object:
            raise RuntimeError("hidden")

    class HiddenError(ValueError, metaclass=Hiding):
        pass

    return HiddenError(text)


class _NoTextError(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _NoTraceError(ValueError):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]
        raise RuntimeError("no trace")


@pytest.mark.parametrize(
    ("make", "begin"),
    [
        (lambda: NameError("unknown column", name=["a"]), "NameError: unknown column"),  # type: ignore[arg-type]
        (lambda: _ExitsError("no such user"), "_ExitsError: no such user"),
        (lambda: _hidden_error("secret"), "HiddenError: secret"),
        (_NoTextError, "_NoTextError: "),
        (lambda: _NoTraceError("lost"), "_NoTraceError: lost"),
    ],
)
def test_an_exception_that_resists_is_described_all_the_same(
    make: Callable[[], BaseException], begin: str
) -> None:
    def fail() -> None:
        raise make()

    raised = _raised(fail)
    assert begin in describe_exception(raised)
    frame = frame_of(raised)
    assert frame is not None
    assert frame.function.endswith("fail")


def _without_this_file(error: BaseException) -> BaseException:
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def _written_to(file: str, source: str) -> Callable[[], object]:
    """Return the function `f` of a module that would stand in this file."""
    names: dict[str, Any] = {"json": json}
    exec(compile(source, file, "exec"), names)
    function: Callable[[], object] = names["f"]
    return function


PACKAGE = "/env/lib/python3.14/site-packages/package/a.py"


def test_the_frame_of_an_error_is_the_innermost_of_the_users_code() -> None:
    inner = _written_to("/home/me/helper.py", "def f():\n\n    return json.loads('{')\n")
    assert frame_of(_raised(inner)) == Frame("/home/me/helper.py", 3, "f")
    package = _written_to(PACKAGE, "def f():\n    raise KeyError\n")

    def mine() -> object:
        return package()

    frame = frame_of(_raised(mine))
    assert frame is not None
    assert (Path(frame.file), frame.function) == (Path(__file__), mine.__qualname__)


def test_the_frame_of_a_workload_that_is_a_package_is_its_own_first_one() -> None:
    function = _written_to(PACKAGE, "def f():\n    return json.loads('{')\n")
    assert frame_of(_without_this_file(_raised(function))) == Frame(PACKAGE, 2, "f")


def test_an_error_without_any_frame_outside_of_todobatch_has_none() -> None:
    assert frame_of(ValueError()) is None
    own = str(Path(model.__file__).with_name("made_up.py"))
    error = _raised(_written_to(own, "def f():\n    raise KeyError\n"))
    assert frame_of(_without_this_file(error)) is None


def test_a_frame_is_bounded_however_long_its_names_and_deep_its_error() -> None:
    function = _written_to("/me/" + "x" * 9_000, "def f(n=None):\n    return f()\n")
    frame = frame_of(_raised(function))
    assert frame is not None
    assert (len(frame.file), frame.function) == (LONGEST_ERROR, "f")
