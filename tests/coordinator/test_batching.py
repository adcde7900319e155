"""Batches that the caller made are checked and run as they are."""

import pytest

from todobatch import Task, run_batches
from todobatch.errors import UsageError
from todobatch.model import Batch


@pytest.mark.parametrize(
    ("batches", "cause"),
    [
        ([Batch(0, (Task("a"),)), Batch(0, (Task("b"),), 1)], "two batches have the index 0"),
        ([Batch(n % 70, (Task("a"),), n) for n in range(200)], "two batches have the index 0"),
        ([Batch(-1, (Task("a"),))], "a batch has the index -1"),
        ([Batch(0, (Task("a"),)), Task("b")], "an item of type Task came after batches"),
    ],
)
@pytest.mark.parametrize("executor", ["sequential", "threads", "processes"])
def test_ready_made_batches_without_distinct_indices_are_refused(
    batches: list[Batch], cause: str, executor: str
) -> None:
    with pytest.raises(UsageError) as raised:
        run_batches(batches, "validate", executor=executor)
    assert raised.value.cause == cause
    assert raised.value.place == "`tasks`"
    assert "number the batches 0, 1, 2" in raised.value.remedy
