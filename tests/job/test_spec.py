"""Jobs and reports convert to JSON and back; wrong ones are refused, with the field named."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from todobatch import Recovery, runtime
from todobatch.errors import UsageError
from todobatch.ipc.decoding import from_json, to_json
from todobatch.job.spec import CostsUsed, Job, JobReport
from todobatch.model import ProcessingResult, TaskFailure, WorkerTotals

JOB = Job(
    generate=3,
    today=dt.date(2026, 11, 24),
    recovery=Recovery(retries=4, deadline_s=1),
    order="priority",
    output="rows.jsonl",
)


def report(**changes: Any) -> dict[str, Any]:
    """Return a report as JSON, with some fields changed."""
    whole = JobReport(
        executor="threads", workers=2, least_workers=None, gil_enabled=True, gil_came_back=False,
        tasks=3, failed=1, skipped=0, left_out={"note": 1}, wall_s=0.5, cpu_s=1, peak_bytes=10,
        peak_method="pss+hwm", pool_start_s=0.1, digest="ab", batches=1, failed_batches=1,
        failures=(TaskFailure(2, "c", "ValueError: c"),), errors=("e",),
        worker_totals=(WorkerTotals("thread-1", 7, 1, 2, 0.5, True, True, (0, 1)),),
        result={"rows": {"a": [1]}}, interrupted=False, output=None, retried=0, replaced=0,
        set_aside=0, set_aside_tasks=(), order="input",
        costs=CostsUsed(file="c.json", before=0, measured=1), journal=None, resumed_tasks=0,
        worker_stats=(), resizes=(), runs=1, journal_s=0.0,
    )  # fmt: skip
    again: dict[str, Any] = json.loads(json.dumps(to_json(whole)))
    assert from_json(JobReport, again) == whole
    return again | changes


def test_a_job_and_a_report_are_the_same_after_json() -> None:
    assert from_json(Job, json.loads(json.dumps(to_json(JOB)))) == JOB
    assert report()["worker_totals"][0]["cpus"] == [0, 1]


def test_fields_that_are_not_given_have_the_defaults_of_run_batches() -> None:
    job = from_json(Job, {"generate": 1})
    assert (job.executor, job.workers, job.recovery) == ("threads", 2, Recovery())
    assert (job.batch_size, job.tasks_a_batch, job.today) == (None, 100, runtime.today())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"wokers": 2}, "Job: `wokers` is not a field"),
        ({"workers": "2"}, "Job.workers: '2' is not a whole number"),
        ({"workers": True}, "Job.workers: true is not a whole number"),
        ({"seed": 1.0}, "Job.seed: 1.0 is not a whole number"),
        ({"strict": 1}, "Job.strict: 1 is not true or false"),
        ({"output": 3}, "Job.output: 3 is not text"),
        ({"today": "yesterday"}, "Job.today: 'yesterday' is not a date"),
        ({"order": "magic"}, "Job.order: 'magic' is not one of input, priority, longest"),
        ({"recovery": 2}, "Job.recovery: 2 is not an object"),
        ({"recovery": {"retrys": 2}}, "Job.recovery: `retrys` is not a field"),
        ({"recovery": {"backoff_s": float("nan")}}, "Job.recovery.backoff_s: nan is not a number"),
        ({"recovery": {"retries": -1}}, "`retries`: a batch cannot be retried -1 times"),
        (
            {"input": "todo.txt"},
            "`input`: a job needs either an input or a number of tasks to generate",
        ),
        (
            {"generate": None},
            "`input`: a job needs either an input or a number of tasks to generate",
        ),
    ],
)
def test_what_is_not_a_job_is_refused_with_the_field_named(
    changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError) as raised:
        from_json(Job, to_json(JOB) | changes)
    assert str(raised.value).startswith(text)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"failures": [{"task": 1, "title": "a"}]}, "JobReport.failures[0]: `error` is missing"),
        ({"left_out": {"note": "many"}}, "JobReport.left_out.note: 'many' is not a whole number"),
        ({"errors": "e"}, "JobReport.errors: 'e' is not "),
        ({"wall_s": None}, "JobReport.wall_s: null is not a number"),
    ],
)
def test_what_is_not_a_report_is_refused_with_the_field_named(
    changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError) as raised:
        from_json(JobReport, report(**changes))
    assert str(raised.value).startswith(text)


def test_a_list_is_not_a_job() -> None:
    with pytest.raises(UsageError, match=r"Job: \[\] is not an object"):
        from_json(Job, [])


def test_an_unknown_digest_and_process_are_none() -> None:
    result = ProcessingResult("p", 1, 0.0, success=True, digest=None)
    assert result.digest is None
    assert result.seen.pid is None


@pytest.mark.thread_unsafe(reason="it changes the time zone of the process")
def test_today_is_the_local_date_also_where_it_differs_from_utc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At noon in UTC it is the next day in Kiritimati and the same day in Niue."""
    import time

    class Noon(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Noon":
            return cls(2026, 11, 24, 12, tzinfo=tz)

    monkeypatch.setattr("todobatch.runtime.dt.datetime", Noon)
    try:
        for zone, day in (("<+14>-14", 25), ("<-11>11", 24), ("UTC0", 24)):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert runtime.today() == dt.date(2026, 11, day)
    finally:
        monkeypatch.undo()
        time.tzset()
