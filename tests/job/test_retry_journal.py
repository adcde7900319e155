"""`Journal.retry_failed` runs only the failed tasks again."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.coordinator.made_up import AT_ONCE, JOB, named
from tests.coordinator.test_forged_journal import forge
from tests.tools.flaky import Flaky
from todobatch import Hooks, run_batches
from todobatch.coordinator.journal import Journal
from todobatch.coordinator.ranges import Ranges
from todobatch.coordinator.saved import failed_batches
from todobatch.coordinator.saved.failed_batches import failed_batch
from todobatch.errors import StoreError, UsageError
from todobatch.model import Batch, BatchReport, Json, Task

BAD = {3, 4, 17, *range(30, 40), 59}
"""Tasks that fail: some in a row, a whole batch, and the last task."""
SAME = ("digest", "result", "tasks", "failed", "batches", "failed_batches")


class Fixed(Flaky):
    """Fails the tasks in `bad` only, and counts the runs of each task."""

    def __init__(self, bad: Sequence[str] = (), *, crash_after: int | None = None) -> None:
        super().__init__()
        self.bad = bad
        self.runs: list[str] = []
        self.left = crash_after
        self._lock = threading.Lock()

    def process_task(self, task: Task) -> str:
        with self._lock:
            self.runs.append(task.title)
        if task.title in self.bad:
            raise ValueError(task.title)
        return task.title


class OwnBatch(Fixed):
    """Makes results of its own, so no part of a batch can be run alone."""

    splittable = False


def do(
    path: Path, processor: Flaky, *, retry: bool = False, executor: str = "sequential", **more: Any
) -> BatchReport:
    with Journal(path, JOB) as journal:
        if retry:
            journal.retry_failed()
        return run_batches(
            named(60, BAD), processor, executor=executor, batch_size=10, keep_rows=True,
            journal=journal, recovery=AT_ONCE, **more,
        )  # fmt: skip


def titles(places: set[int]) -> list[str]:
    return sorted(f"bad {place}" for place in places)


@pytest.mark.parametrize("executor", ["sequential", "threads", "coroutines"])
def test_only_the_failed_tasks_run_and_the_report_is_that_of_one_run(
    tmp_path: Path, executor: str
) -> None:
    path = tmp_path / "j.db"
    first = do(path, Flaky(), executor=executor)
    assert first.failed == len(BAD)
    unchanged = Fixed()
    assert do(path, unchanged).failed == len(BAD)
    assert unchanged.runs == [], "without a retry nothing is run again"
    some = Fixed(["bad 17", "bad 30"])
    second = do(path, some, retry=True, executor=executor)
    assert sorted(some.runs) == titles(BAD)
    assert (second.failed, second.resumed_tasks) == (2, 60 - len(BAD))
    last = Fixed()
    third = do(path, last, retry=True, executor=executor)
    assert sorted(last.runs) == ["bad 17", "bad 30"]
    for report, bad in ((second, ["bad 17", "bad 30"]), (third, [])):
        whole = run_batches(
            named(60, BAD), Fixed(bad), executor="sequential", batch_size=10, keep_rows=True
        )
        for name in SAME:
            assert getattr(report, name) == getattr(whole, name), name
        # In the order in which batches finish.
        assert sorted(report.failures, key=lambda each: each.task) == list(whole.failures)
        assert sorted(report.errors) == sorted(whole.errors)
    assert sum(worker.tasks for worker in third.worker_totals) == 60


def test_a_batch_that_cannot_be_run_in_parts_runs_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    do(path, OwnBatch(titles(BAD)))
    again = OwnBatch()
    report = do(path, again, retry=True)
    assert (report.failed, report.resumed_tasks) == (0, 20)
    assert len(again.runs) == 40, "no task failed in two batches of six"


class _Killed(BaseException):
    """Stands for a kill of the process, after which nothing is saved."""


@pytest.mark.parametrize("after", range(1, 5))
def test_a_retry_that_is_killed_runs_each_task_once(
    tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("todobatch.coordinator.journal.SHORTEST_S", 0.0)
    monkeypatch.setattr("todobatch.coordinator.journal.LONGEST_S", 0.0)
    path = tmp_path / "j.db"
    do(path, Flaky())
    left = after

    def kill(batch: object, result: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise _Killed

    killed = Fixed()
    with pytest.raises(_Killed):
        do(path, killed, retry=True, hooks=Hooks(on_batch=kill))
    with Journal(path, JOB) as journal:
        saved = journal.saved_tasks + journal.failed.kept_tasks
        assert journal.phase == "running"
    rest = Fixed()
    report = do(path, rest)
    assert len(rest.runs) == 60 - saved, "it goes on with the retry, and repeats nothing saved"
    assert {*killed.runs, *rest.runs} == set(titles(BAD))
    whole = run_batches(named(60, BAD), Fixed(), executor="sequential", batch_size=10)
    assert (report.digest, report.result, report.failed) == (whole.digest, whole.result, 0)


@pytest.mark.parametrize(
    ("column", "value"),
    [("again", 11), ("again", "x"), ("tasks", -1), ("content", "{}"), ("batch", -5)],
)
def test_a_forged_failed_batch_is_refused(tmp_path: Path, column: str, value: object) -> None:
    path = tmp_path / "j.db"
    do(path, Flaky())
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE failed SET {column} = ? WHERE batch = 0", (value,))
    db.close()
    with pytest.raises(StoreError, match="cannot be resumed: it is damaged"):
        do(path, Fixed(), retry=True)


@pytest.mark.parametrize(
    "change",
    [
        {"failed": [3, 3]},
        {"failed": [10]},
        {"failed": []},
        {"rows": [1]},
        {"tasks": 9},
        {"rows": 5},
    ],
)
def test_a_failed_batch_sealed_anew_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "j.db"
    do(path, Flaky())
    with sqlite3.connect(path) as db:
        (text,) = db.execute("SELECT content FROM failed WHERE batch = 0").fetchone()
        text = json.dumps(json.loads(text) | change)
        db.execute(
            "UPDATE failed SET content = ?, sha256 = ? WHERE batch = 0",
            (text, failed_batches._seal(0, text)),
        )
    db.close()
    with pytest.raises(StoreError, match="cannot be resumed: it is damaged"):
        do(path, Fixed(), retry=True)


def _as_schema_1(path: Path) -> None:
    """Make a journal as todobatch wrote it before failed batches were kept."""

    def strip(state: dict[str, Any]) -> None:
        for name in ("codes", "retriable", "replaced", "report"):
            del state[name]
        tally = state["tally"]
        del tally["failed_digest"], tally["failed_partial"]

    forge(path, strip)
    forge(path, lambda job: job.pop("code", None) and None, "job")
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE failed")
        db.execute("PRAGMA user_version = 1")
    db.close()


def test_a_journal_of_schema_1_is_read_and_says_that_it_cannot_retry(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    do(path, Flaky())
    _as_schema_1(path)
    report = do(path, Fixed())
    assert (report.tasks, report.failed, report.resumed_tasks) == (60, len(BAD), 60)
    with pytest.raises(StoreError, match="an older version of todobatch began it") as raised:
        do(path, Fixed(), retry=True)
    assert "leave out `retry_failed`" in raised.value.remedy


CODE: dict[str, Json] = {"mine": "1" * 64, "helper": "2" * 64}
CHANGED: dict[str, Json] = {**CODE, "helper": "3" * 64}


def test_changed_code_is_refused_kept_or_ignored(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Journal(path, {**JOB, "code": CODE}):
        pass
    with Journal(path, {**JOB, "code": CHANGED}) as journal:  # nothing was done with the old code
        assert journal.codes == 1
        run_batches(named(5), Flaky(), executor="sequential", journal=journal)
    with pytest.raises(UsageError) as raised:
        Journal(path, {**JOB, "code": CODE})
    assert "flaky has changed since 5 tasks were done (modules: helper)" in str(raised.value)
    assert '`changed_code="keep"`' in raised.value.remedy
    assert "new journal" in raised.value.remedy
    with Journal(path, {**JOB, "code": CODE}, changed_code="keep") as journal:
        assert (journal.changed_code, journal.codes) == (["helper"], 2)
        journal.note(1)
        journal.save(journal.tally | {"tasks": 6, "batches": 2})  # type: ignore[operator]
    with Journal(path, {**JOB, "code": CODE}) as journal:
        assert (journal.changed_code, journal.codes) == ([], 2), "it still says so"


def test_a_journal_that_knows_no_code_takes_any(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Journal(path, JOB) as journal:
        run_batches(named(5), Flaky(), executor="sequential", journal=journal)
    with Journal(path, {**JOB, "code": CODE}) as journal:
        assert journal.changed_code == []


def test_a_retry_of_a_finished_job_accepts_the_code_that_was_mended(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with Journal(path, {**JOB, "code": CODE}) as journal:
        run_batches(named(5, {2}), Flaky(), executor="sequential", journal=journal)
    with pytest.raises(UsageError):  # it is not known to be finished
        Journal(path, {**JOB, "code": CHANGED}, retry_failed=True)
    with Journal(path, {**JOB, "code": CODE}) as journal:
        journal.finish({})
    with Journal(path, {**JOB, "code": CHANGED}, retry_failed=True) as journal:
        assert journal.retry_failed() == 1
        assert journal.phase == "retrying"


def test_a_journal_of_which_nothing_is_done_takes_another_job(tmp_path: Path) -> None:
    """Otherwise no remedy that changes an option could be followed after the first try."""
    with Journal(tmp_path / "j.db", {**JOB, "output": "a"}):
        pass
    with Journal(tmp_path / "j.db", {**JOB, "output": "b"}) as journal:
        assert journal.job["output"] == "b"


def test_ranges_without_some_numbers() -> None:
    ranges = Ranges([(0, 5), (7, 9), (12, 13)])
    assert ranges.without([]).pairs() == ranges.pairs()
    assert ranges.without([0, 3, 4, 6, 7, 12]).pairs() == [(1, 3), (8, 9)]
    assert ranges.without([8, 20]).pairs() == [(0, 5), (7, 8), (12, 13)]
    assert ranges.without(range(30)).pairs() == []


def test_rows_that_json_changes_are_not_kept() -> None:
    result = Flaky().process_batch(Batch(0, (Task("a"), Task("bad b")), 10))
    known = failed_batch(result, 10, keep_rows=True)
    assert known is not None
    assert (known.failed, known.rows, known.again) == ([1], ["a", None], 1)
    tuples: Any = (("a",), None)  # JSON has lists only
    odd = failed_batch(replace(result, rows=tuples), 10, keep_rows=True)
    assert odd is not None
    assert (odd.rows, odd.again) == (None, 2)
