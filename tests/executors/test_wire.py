"""Batches and results come out of a message as they went in."""

import datetime as dt
from dataclasses import replace

import pytest

from todobatch.coordinator import batched
from todobatch.executors import wire
from todobatch.executors.base import Worker
from todobatch.model import Batch, Task
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


def test_what_is_not_exactly_a_task_keeps_its_type() -> None:
    batches = [Batch(0, (Task("a"), Marked("b")), 0)]
    out = wire.unpack_batches(wire.pack_batches(batches))
    assert [type(task) for task in out[0].tasks] == [Task, Marked]
    assert out == batches


def test_results_come_out_as_they_went_in_but_for_their_way_back() -> None:
    worker = Worker(TaskReporter(today=TODAY), "thread-1", "thread", keep_rows=True)
    results = [worker.work(batch, 0.25, 0.5) for batch in batched(generate(30), 10)]
    out = wire.unpack_results(wire.pack_results(results), 0.125, 2.0)
    assert out == [
        replace(each, seen=replace(each.seen, serialise_s=0.125, return_s=2.0)) for each in results
    ]
    assert (out[0].seen.queue_s, out[0].seen.deserialise_s) == (0.25, 0.5)
