"""The records are immutable, small when pickled, and comparable."""

import copy
import pickle

import pytest

from todobatch import Batch, BatchReport, ProcessingResult, Task, TaskFailure, run_batches
from todobatch.model import WorkerSeen, describe_exception


def _result() -> ProcessingResult:
    return ProcessingResult(
        "p", 1, 0.5, success=False, error="e", partial={"a": {"b": 1}}, digest=7,
        failures=(TaskFailure(3, "t", "ValueError: x"),), seen=WorkerSeen("thread-1", 5),
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
