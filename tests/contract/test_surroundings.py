"""User code finds the surroundings of a plain program, and what it does to them stays with it."""

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from todobatch import Recovery, run_batches
from todobatch.errors import EXIT_MEASUREMENT, MeasurementError
from todobatch.executors import EXECUTORS, Executor
from todobatch.job.client import run_job
from todobatch.job.spec import Job, JobReport
from todobatch.model import Batch, ProcessingResult, Task
from todobatch.processors import resolve

pytestmark = pytest.mark.thread_unsafe(reason="a module is loaded in the context of one thread")
Titled = Callable[[Sequence[Sequence[str]]], list[Batch]]
QUICK = Recovery(retries=1, backoff_s=0.01)
MODULES = Path(__file__).parent / "modules"
ROOT = MODULES.parents[2]
WITH_JOURNAL = ["threads", "sequential", "processes"]


def rows(
    executor: Executor, function: str, titles: Sequence[str], workers: int = 2
) -> list[object]:
    """What the function returned for each title, on workers with batches of one task."""
    batches = [Batch(n, (Task(title),), n) for n, title in enumerate(titles)]
    processor = resolve(f"surroundings_work:{function}")
    results = executor.run(processor, batches, workers=workers, keep_rows=True)
    ordered: list[ProcessingResult] = sorted(results, key=lambda result: result.batch)
    assert [result.error for result in ordered] == [None] * len(titles)
    return [row for result in ordered for row in result.rows or ()]


def job_of(
    function: str, executor: str, folder: Path, titles: Sequence[str]
) -> tuple[JobReport, list[dict[str, object]]]:
    """Run a job in a process of its own; returns its report and its rows."""
    tasks, out = folder / "in.jsonl", folder / "out.jsonl"
    log = str(folder / "log")
    lines = [json.dumps({"title": each, "projects": [log]}) + "\n" for each in titles]
    tasks.write_text("".join(lines))
    paths = [str(MODULES), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    report = run_job(
        Job(
            input=str(tasks), workload=f"surroundings_work:{function}", executor=executor,
            workers=2, batch_size=2, recovery=QUICK, output=str(out),
            journal=str(folder / "job.db"),
        ),
        Path(sys.executable), {**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        on_event=lambda event: None,
    )  # fmt: skip
    rows_ = [json.loads(line) for line in out.read_text().splitlines()]
    return report, sorted(rows_, key=lambda row: row["task"])


def test_the_context_is_that_in_which_the_workload_was_loaded(executor: Executor) -> None:
    assert rows(executor, "third", "ab") == ["0." + "3" * 50] * 2
    assert rows(executor, "language", "ab") == ["toki pona"] * 2


def test_workers_share_no_decimal_context(executor: Executor) -> None:
    titles = [f"task {n}" for n in range(200)]
    expected = rows(EXECUTORS["sequential"], "own_precision", titles)
    assert rows(executor, "own_precision", titles, workers=4) == expected


@pytest.mark.parametrize("name", sorted(EXECUTORS))
def test_a_worker_is_where_its_caller_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if EXECUTORS[name].available() is not None:
        return  # another test holds which work here
    rows(EXECUTORS["processes"], "third", "a")  # the fork server runs from now on
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_CALLER", "here")
    before, limit = os.umask(0o027), sys.getrecursionlimit()
    sys.setrecursionlimit(1234)
    try:
        found = rows(EXECUTORS[name], "around", "a")
    finally:
        os.umask(before)
        sys.setrecursionlimit(limit)
    assert found == [[str(tmp_path), 0o027, "here", 1234]]


def test_a_child_that_a_task_forks_ends_where_it_leaves_the_task(executor: Executor) -> None:
    if executor.name == "interpreters":
        return  # Python refuses to fork in a subinterpreter
    assert rows(executor, "fork", ["exit", "return", "raise", "return"]) == [3, 0, 1, 0]


@pytest.mark.parametrize("how", ["group", "generator", "cancelled", "own"])
def test_a_task_may_raise_anything(executor: Executor, how: str) -> None:
    tasks = [Task(title) for title in ("a", how, "b")]
    report = run_batches(
        tasks, "surroundings_work:raise_it", executor=executor, workers=2, batch_size=2,
        recovery=QUICK,
    )  # fmt: skip
    assert (report.tasks, report.failed, report.replaced) == (3, 1, 0)


@pytest.mark.parametrize("how", ["cancel and await", "cancel and return"])
def test_a_task_that_cancels_itself_costs_itself_only(executor: Executor, how: str) -> None:
    tasks = [Task(title) for title in ("a", how, "b", "c", "d")]
    report = run_batches(
        tasks, "surroundings_work:cancel_itself", executor=executor, workers=2, batch_size=1,
        recovery=QUICK,
    )  # fmt: skip
    assert report.tasks == 5
    assert report.failed <= 1
    assert not {failure.title for failure in report.failures} - {how}


def test_a_plain_function_may_run_an_event_loop(executor: Executor) -> None:
    assert rows(executor, "own_loop", ["a", "bb", "ccc"]) == [1, 2, 3]


def test_a_task_that_closes_all_descriptors_is_set_aside(titled: Titled) -> None:
    tasks = [Task(title) for title in ("a", "close", "b", "c")]
    report = run_batches(
        tasks, "surroundings_work:close_all", executor="processes", workers=2, batch_size=1,
        recovery=QUICK,
    )  # fmt: skip
    assert (report.tasks, report.failed, report.set_aside) == (4, 1, 1)
    assert report.replaced == 2


@pytest.mark.parametrize("function", ["write_low", "reopen_low"])
@pytest.mark.parametrize("name", WITH_JOURNAL)
def test_a_task_that_uses_low_descriptors_does_not_reach_ours(
    name: str, function: str, tmp_path: Path
) -> None:
    titles = ["a", "b", "write", "c", "d", "write", "e"]
    report, found = job_of(function, name, tmp_path, titles)
    assert (report.tasks, report.failed, report.replaced) == (7, 0, 0)
    expected = [{"task": n, "title": each, "result": each} for n, each in enumerate(titles)]
    assert found == expected
    if function == "reopen_low":
        assert {*(tmp_path / "log").read_text().splitlines()} <= {"log"}
    again, found = job_of(function, name, tmp_path, titles)
    assert (again.tasks, again.runs, found) == (7, 2, expected), "the journal is damaged"


@pytest.mark.parametrize("name", ["threads", "sequential"])
def test_a_task_that_writes_to_the_channel_of_events_ends_the_job(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match="'debug: here I am', which is not an event") as seen:
        job_of("into_pipes", name, tmp_path, ["a", "write", "b"])
    assert seen.value.exit_code == EXIT_MEASUREMENT
    assert "write only to files that it has opened" in seen.value.remedy


def test_a_task_that_writes_to_the_socket_of_its_worker_is_set_aside() -> None:
    titles = ["a", "b", "c", "write", *"defghi"]
    report = run_batches(
        [Task(each) for each in titles], "surroundings_work:into_sockets", executor="processes",
        workers=2, batch_size=2, recovery=QUICK,
    )  # fmt: skip
    assert (report.tasks, report.failed, report.set_aside) == (10, 1, 1)
    assert report.replaced > 0
    (failure,) = report.failures
    assert failure.title == "write"
    assert failure.error == "its worker wrote to its socket what is not a result, and was stopped"


def test_a_crash_is_noticed_while_a_child_of_the_worker_runs_on(tmp_path: Path) -> None:
    """The child has inherited all descriptors that are inheritable; nobody ends it meanwhile."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    tasks = [Task("a"), Task("crash", projects=(str(pipe),)), Task("b")]
    report = run_batches(
        tasks, "surroundings_work:leave_a_child", executor="processes", workers=2, batch_size=1,
        recovery=Recovery(retries=0),
    )  # fmt: skip
    assert (report.tasks, report.failed) == (3, 1)
    ended = threading.Event()

    def release() -> None:
        pipe.write_text("go\n")
        ended.set()

    threading.Thread(target=release, daemon=True).start()
    assert ended.wait(60), "the child had ended before the report"
