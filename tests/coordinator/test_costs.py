"""The time of each batch is measured, saved, and read again."""

import json
from collections.abc import Iterator
from functools import partial
from math import nan
from pathlib import Path

import pytest

from tests.coordinator.made_up import Virtual, cut
from tests.tools.flaky import Flaky
from todobatch import Hooks, Recovery, Task, batched, run_batches
from todobatch.coordinator.costs import MOST_BATCHES, Costs
from todobatch.coordinator.journal import Journal
from todobatch.errors import NewerSchemaError, StoreError, TodobatchError, UsageError
from todobatch.model import Batch
from todobatch.testing import FOR_EVER, Scripted


def rows_in(path: Path) -> list[list[float]]:
    rows: list[list[float]] = json.loads(path.read_text())["batches"]
    return rows


def test_new_costs_are_merged_into_the_known_ones(tmp_path: Path) -> None:
    """The second run is interrupted; batches that it did not run keep their costs."""
    path = tmp_path / "costs.json"
    with Costs(path, batch_size=2) as costs:
        takes = {n: 1.0 + n for n in range(3)}
        run_batches(cut([2, 2, 1]), Flaky(), executor=Virtual(takes), workers=1, costs=costs)
    assert rows_in(path) == [[0, 0, 2, 1.0], [1, 2, 2, 2.0], [2, 4, 1, 3.0]]
    done: list[int] = []
    with Costs(path, batch_size=2) as costs:
        assert (costs.before, costs.measured) == (3, 0)
        report = run_batches(
            cut([2, 2, 1]), Flaky(), executor=Virtual(dict.fromkeys(range(3), 9.0)), workers=1,
            order="longest", costs=costs,
            hooks=Hooks(lambda result: done.append(result.batch), stop=lambda: bool(done)),
        )  # fmt: skip
    assert report.interrupted
    assert done == [2]
    assert rows_in(path) == [[0, 0, 2, 1.0], [1, 2, 2, 2.0], [2, 4, 1, 9.0]]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["costs.json"]


def test_a_run_that_fails_keeps_what_it_measured_and_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"

    def broken() -> Iterator[Batch]:
        yield from cut([1, 1])
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"), Costs(path) as costs:
        run_batches(broken(), Flaky(), executor=Virtual({0: 1.0, 1: 2.0}), workers=1, costs=costs)
    assert [row[0] for row in rows_in(path)] == [0, 1]


def test_batches_that_break_or_fail_as_a_whole_are_not_measured(tmp_path: Path) -> None:
    batches = cut([2] * 4, bad={0})
    with Costs(tmp_path / "costs.json") as costs:
        run_batches(
            batches, Flaky(), executor=Scripted({"task 2": FOR_EVER, "task 4": 1}), costs=costs,
            recovery=Recovery(backoff_s=0.0),
        )  # fmt: skip
    # Batch 0 has a task that fails, and came back; 1 has one set aside; 2 cost a worker, or failed.
    assert {row[0] for row in rows_in(tmp_path / "costs.json")} <= {0, 2, 3}
    assert {row[0] for row in rows_in(tmp_path / "costs.json")} >= {0, 3}


def test_costs_that_do_not_fit_a_batch_are_forgotten_and_measured_again(tmp_path: Path) -> None:
    """The input has grown, so its last batch has other tasks now."""
    path = tmp_path / "costs.json"
    with Costs(path, batch_size=2) as costs:
        run_batches(cut([2, 1]), Flaky(), executor=Virtual({0: 5.0, 1: 1.0}), costs=costs)
    executor = Virtual({0: 5.0, 1: 2.0, 2: 3.0})
    with Costs(path, batch_size=2) as costs:
        run_batches(
            cut([2, 2, 2]), Flaky(), executor=executor, workers=1, order="longest", costs=costs
        )
    assert executor.order == [1, 2, 0]  # what is not known, then what is
    assert rows_in(path) == [[0, 0, 2, 5.0], [1, 2, 2, 2.0], [2, 4, 2, 3.0]]


def test_a_job_is_resumed_in_any_order_and_each_batch_is_done_once(tmp_path: Path) -> None:
    batches = cut([2] * 8)
    takes = {n: float(n) for n in range(8)}
    executor = Virtual(takes)
    done: list[int] = []
    reports = []
    for most in (3, 99):
        stop = partial(lambda most: len(executor.order) >= most, most)
        with (
            Journal(tmp_path / "j.db", {"what": "order"}) as journal,
            Costs(tmp_path / "costs.json") as costs,
        ):
            costs.known.update(takes)
            reports.append(
                run_batches(
                    batches, Flaky(), executor=executor, workers=1, order="longest",
                    costs=costs, journal=journal,
                    hooks=Hooks(lambda result: done.append(result.batch), stop=stop),
                )
            )  # fmt: skip
    assert reports[0].interrupted
    assert done == executor.order == [7, 6, 5, 4, 3, 2, 1, 0]
    expected = run_batches(cut([2] * 8), Flaky(), executor="sequential")
    assert (reports[1].digest, reports[1].result) == (expected.digest, expected.result)


def test_costs_are_bounded_and_impossible_ones_are_not_kept(tmp_path: Path) -> None:
    with Costs(tmp_path / "costs.json") as costs:
        for index, seconds in ((0, nan), (1, -1.0), (2, 0.5), (MOST_BATCHES, 1.0), (-1, 1.0)):
            costs.note(Batch(index, (), 0), seconds)
    assert rows_in(tmp_path / "costs.json") == [[2, 0, 0, 0.5]]


def test_costs_of_another_workload_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    with Costs(path) as costs:
        run_batches([Task("a")], "validate", executor="sequential", costs=costs)
    with pytest.raises(
        UsageError, match="costs are those of 'validate', but the job runs 'report'"
    ):
        run_batches([Task("a")], "report", executor="sequential", costs=Costs(path))


def test_longest_first_without_costs_is_refused() -> None:
    with pytest.raises(UsageError, match="pass `costs`"):
        run_batches([Task("a")], "validate", executor="sequential", order="longest")


HEAD = '{"format": "todobatch costs", "version": 1, "processor": "flaky", "batches": '


@pytest.mark.parametrize(
    ("text", "error", "parts"),
    [
        ("", StoreError, ["line 1, column 1", "not JSON"]),
        (HEAD + "[\n[0, 0, 1, 1],\n[1, 1, 1 1]]}", StoreError, ["line 3", "not JSON"]),
        ("[]", StoreError, ['no "format"']),
        ('{"format": "other"}', StoreError, ['no "format"']),
        ('{"format": "todobatch costs", "version": 2}', NewerSchemaError, ["version 2", "knows 1"]),
        (HEAD.replace('"flaky"', "3") + "[]}", StoreError, ["processor", "not text"]),
        (HEAD + "3}", StoreError, ["batches", "not a list"]),
        (HEAD + "[[0, 0, 10, 1], 7]}", StoreError, ["batches[1]", "the batch's index"]),
        (HEAD + "[[0, 0, 10]]}", StoreError, ["batches[0]", "its seconds"]),
        (HEAD + "[[0.5, 0, 10, 1]]}", StoreError, ["batches[0]", "index is 0.5", "whole number"]),
        (HEAD + "[[true, 0, 10, 1]]}", StoreError, ["index is True"]),
        (HEAD + "[[0, -1, 10, 1]]}", StoreError, ["first task is -1"]),
        (HEAD + "[[0, 0, 10, NaN]]}", StoreError, ["seconds is nan"]),
        (HEAD + "[[0, 0, 10, 1e999]]}", StoreError, ["seconds is inf"]),
        (HEAD + f"[[0, 0, {10**400}, 1]]}}", StoreError, ["number of tasks is 1000"]),
        (HEAD + "[[0, 0, 10, 1], [0, 0, 10, 1]]}", StoreError, ["batches[1]", "twice"]),
        (HEAD + f"[[{MOST_BATCHES}, 0, 10, 1]]}}", StoreError, ["not below"]),
        (
            HEAD + "[[0, 0, 10, 1], [1, 20, 10, 1]]}",
            UsageError,
            [
                "batches[1]",
                "begins at task 20 and has 10 tasks",
                "`batch_size` 10 it begins at task 10",
            ],
        ),
        (HEAD + "[[0, 0, 11, 1]]}", UsageError, ["batches[0]", "11 tasks", "`batch_size`"]),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_place_and_reason(
    tmp_path: Path, text: str, error: type[TodobatchError], parts: list[str]
) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    with pytest.raises(TodobatchError) as raised:
        Costs(path, batch_size=10)
    assert type(raised.value) is error
    for part in (str(path), *parts):
        assert part in str(raised.value)
    assert path.read_text() == text


def test_a_path_that_cannot_be_a_file_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for path, why in ((tmp_path, "it is a folder"), (tmp_path / "no" / "c", "no such folder")):
        with pytest.raises(UsageError, match=why):
            Costs(path)
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(StoreError, match="UTF-8"):
        Costs(tmp_path / "latin")


def test_a_link_is_followed_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "costs.json")
    with Costs(tmp_path / "link") as costs:
        costs.note(Batch(0, (Task("a"),)), 1.0)
    assert (tmp_path / "link").is_symlink()
    assert rows_in(tmp_path / "costs.json") == [[0, 0, 1, 1.0]]


def test_each_batch_has_a_cost(tmp_path: Path) -> None:
    tasks = [Task(f"{n}") for n in range(25)]
    with Costs(tmp_path / "costs.json", batch_size=10) as costs:
        run_batches(tasks, "validate", workers=2, batch_size=10, costs=costs)
    rows = rows_in(tmp_path / "costs.json")
    assert [row[:3] for row in rows] == [[b.index, b.first, len(b)] for b in batched(tasks, 10)]
    assert all(row[3] >= 0 for row in rows)
