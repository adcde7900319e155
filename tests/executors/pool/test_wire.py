"""Batches and results are the same after they were pickled and unpickled."""

import datetime as dt
from dataclasses import replace

import pytest

from todobatch import batched
from todobatch.executors.pool import wire
from todobatch.executors.worker import Worker
from todobatch.model import Batch, Part, Task
from todobatch.processors import TaskReporter
from todobatch.sources.generator import generate

TODAY = dt.date(2026, 11, 24)


class Marked(Task):
    """A user's own kind of task."""

    __slots__ = ()


@pytest.mark.parametrize("size", [1, 7, 100])
def test_batches_come_out_as_they_went_in(size: int) -> None:
    batches = list(batched(generate(250), size))
    out = wire.unpack_batches(wire.pack_batches(batches))
    assert out == batches
    assert [hash(each) for each in out] == [hash(each) for each in batches]
    with pytest.raises(AttributeError):
        out[0].tasks[0].title = "frozen"  # type: ignore[misc]


def test_empty_batches_and_none_at_all_pass() -> None:
    for batches in ([], [Batch(3, (), 7)], [Batch(3, (), 7), Batch(4, (Task("a"),), 7)]):
        assert wire.unpack_batches(wire.pack_batches(batches)) == batches


def test_parts_keep_their_type_and_number_beside_whole_batches() -> None:
    batches = [Part(3, (Task("a"),), 7, 1), Batch(4, (Task("b"),), 8), Part(3, (), 9, 2)]
    out = wire.unpack_batches(wire.pack_batches(batches))
    assert out == batches
    assert [type(each) for each in out] == [Part, Batch, Part]


def test_what_is_not_exactly_a_task_keeps_its_type() -> None:
    batches = [Batch(0, (Task("a"), Marked("b")), 0)]
    out = wire.unpack_batches(wire.pack_batches(batches))
    assert [type(task) for task in out[0].tasks] == [Task, Marked]
    assert out == batches


def test_dates_and_datetimes_are_unchanged_by_packing() -> None:
    moment = dt.datetime(2026, 11, 24, 12, 30, tzinfo=dt.UTC)
    dates = [None, dt.date.min, dt.date.max, *(TODAY + dt.timedelta(days=n) for n in range(100))]
    batches = [
        Batch(0, tuple(Task("a", due=date, created=TODAY) for date in dates)),
        Batch(1, (Task("b", due=moment, completed=TODAY),)),
    ]
    for many in ([batches[0]], batches):
        out = wire.unpack_batches(wire.pack_batches(many))
        assert out == many
        assert all(type(task.due) in {dt.date, type(None)} for task in out[0].tasks)
    assert out[1].tasks[0].due == moment


def test_a_worker_keeps_a_limited_number_of_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_MOST_DATES", 10)
    batches = [Batch(0, tuple(Task("a", due=dt.date(2026, 1, 1 + n % 31)) for n in range(90)))]
    assert wire.unpack_batches(wire.pack_batches(batches)) == batches


def test_results_are_unchanged_by_packing_but_for_the_times_of_their_return() -> None:
    worker = Worker(TaskReporter(today=TODAY), "thread-1", "thread", keep_rows=True)
    results = [worker.work(batch, 0.25, 0.5) for batch in batched(generate(30), 10)]
    out = wire.unpack_results(wire.pack_results(results), 0.125, 2.0)
    assert out == [
        replace(each, seen=replace(each.seen, serialise_s=0.125, return_s=2.0)) for each in results
    ]
    assert (out[0].seen.queue_s, out[0].seen.deserialise_s) == (0.25, 0.5)
