"""What commands write to standard error: progress, warnings, JSON lines, and how a run ended."""

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import document_of
from tests.conftest import RunTodobatch
from todobatch.cli.shared.log import LONGEST_MESSAGE, Log, When
from todobatch.cli.views import console
from todobatch.cli.views.run import FAILURES_SHOWN, RunView
from todobatch.job.spec import Job
from todobatch.lab.interpreters import Interpreter

END = re.compile(
    r"^finished: tasks=(\d+) failed=(\d+) set_aside=(\d+|unknown) seconds=\d+\.\d+ exit=(\d+)$",
    re.MULTILINE,
)
KEYS = {
    "started": {"command", "version"},
    "message": {"text"},
    "warning": {"text"},
    "failed": {"failed", "tasks", "error", "file", "line", "function"},
    "error": {"cause", "place", "remedy"},
    "finished": {"command", "tasks", "failed", "set_aside", "seconds", "exit"},
}


def events_of(stderr: str) -> list[dict[str, Any]]:
    """Return the events of a log. Each line must be an object with exactly the known keys."""
    events = [json.loads(line) for line in stderr.splitlines()]
    for event in events:
        if event["event"] != "progress":
            assert event.keys() == KEYS[event["event"]] | {"time", "event"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", event["time"])
    return events


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        ("todo.txt -w mine:shout", ("4", "1", "0", "1")),
        ("todo.txt -w mine:shout --json --quiet", ("4", "1", "0", "1")),
        ("todo.txt -w mine:shout -e processes --progress never", ("4", "1", "0", "1")),
        ("todo.txt -w validate", ("4", "0", "0", "0")),
        ("todo.txt -w mine:die -e threads", (None, None, "unknown", "5")),
        ("todo.txt --workers 0", ("0", "0", "0", "2")),
        ("nothing.txt", ("0", "0", "0", "2")),
        ("todo.txt -w mine:shout --output no/folder/rows", ("0", "0", "0", "6")),
    ],
)
def test_a_run_ends_with_one_line_for_grep_however_it_ends(
    run_todobatch: RunTodobatch, project: Path, arguments: str, end: tuple[str | None, ...]
) -> None:
    done = run_todobatch("run", *arguments.split(), cwd=project)
    (found,) = END.findall(done.stderr)
    assert done.stderr.splitlines()[-1].startswith("finished: ")
    assert [a for a, b in zip(found, end, strict=True) if b is not None and a != b] == []
    assert found[-1] == str(done.returncode)


def test_a_log_for_machines_has_json_only(run_todobatch: RunTodobatch, project: Path) -> None:
    (project / "tasks.jsonl").write_text('{"title": "boom \\u20ac"}\nno JSON\n{"title": "a"}\n')
    common = ("run", "tasks.jsonl", "-w", "mine:shout", "--log-json")
    done = run_todobatch(*common, cwd=project)
    events = events_of(done.stderr)
    by_name = {each["event"]: each for each in events if each["event"] != "progress"}
    assert by_name.keys() == KEYS.keys() - {"error"}
    assert (events[0]["event"], events[-1]["event"]) == ("started", "finished")
    skipped, failed, finished = (by_name[name] for name in ("warning", "failed", "finished"))
    assert skipped["text"].startswith("skipped tasks.jsonl:2: ")
    assert failed["error"] == "RuntimeError: this one is too loud"
    assert (failed["failed"], failed["tasks"]) == (1, [0])
    assert (failed["file"], failed["function"]) == (str(project / "mine.py"), "shout")
    assert (finished["command"], finished["exit"], finished["tasks"]) == ("run", 1, 2)
    assert "tasks" in done.stdout
    quiet = run_todobatch(*common, "--quiet", "--json", cwd=project)
    assert [e["event"] for e in events_of(quiet.stderr)] == ["warning", "failed", "finished"]
    assert document_of(quiet.stdout)["causes"][0]["count"] == 1
    refused = run_todobatch("run", "tasks.jsonl", "--workers", "0", "--log-json", cwd=project)
    started, error, finished = events_of(refused.stderr)
    assert (started["event"], error["event"], finished["exit"]) == ("started", "error", 2)
    assert (error["place"], "0 workers" in error["cause"]) == ("--workers", True)
    assert error["remedy"]


@pytest.mark.parametrize(
    "arguments",
    [
        "drill --no-peers --executors threads --faults exception --tasks 20",
        "versus validate nothing",
        "bench --workloads nothing",
    ],
)
def test_other_commands_have_a_log_for_machines_too(
    run_todobatch: RunTodobatch, tmp_path: Path, arguments: str
) -> None:
    done = run_todobatch(*arguments.split(), "--log-json", cwd=tmp_path)
    command = arguments.split(maxsplit=1)[0]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert (events[0]["event"], events[0]["command"]) == ("started", command)
    assert {**events[-1], "time": "", "seconds": 0} == {
        "time": "", "event": "finished", "command": command, "seconds": 0, "exit": done.returncode,
    }  # fmt: skip
    assert len(events) > 2  # the error, or the progress


def test_quiet_drops_messages_and_keeps_warnings(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    (project / "tasks.jsonl").write_text('{"title": "boom"}\nno JSON\n')
    done = run_todobatch("run", "tasks.jsonl", "-w", "mine:shout", "-q", cwd=project)
    lines = done.stderr.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["skipped", "failed"]
    assert "(mine.py:10, in shout)" in lines[1]
    assert lines[2].startswith("finished: tasks=1 failed=1 ")
    assert len(lines) == 3


# Progress ----------------------------------------------------------------------------------------


class _Lines(io.StringIO):
    """A log that is no terminal. `wait` waits until it has so many lines."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            written = super().write(text)
            self._changed.notify_all()
        return written

    def wait(self, count: int) -> list[str]:
        """Return the lines when there are so many; the timeout of the test ends the wait."""
        with self._changed:
            self._changed.wait_for(lambda: self.getvalue().count("\n") >= count)
        return self.getvalue().splitlines()


def log_of(monkeypatch: pytest.MonkeyPatch) -> _Lines:
    """Make standard error such a log. Not a fixture: pytest sets standard error after those."""
    lines = _Lines()
    monkeypatch.setattr("sys.stderr", lines)
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.001)
    return lines


def test_progress_in_a_log_comes_by_itself_with_count_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = log_of(monkeypatch)
    with console.Display() as display:
        display.count("running the job", 0, 0, 400)
        first = log.wait(2)[0]
        assert re.fullmatch(r"\d\d:\d\d:\d\d running the job: 0 of 400 tasks, .*", first)
        before = len(log.wait(2))
        display.count("running the job", 100, 3, 400)
        line = log.wait(before + 2)[-1]
    assert re.search(r": 100 of 400 tasks, 3 failed, [\d,.]+ tasks/s, about \d+ \w+ left$", line)
    ended = len(log.getvalue())
    assert not [e for e in threading.enumerate() if e.name == "todobatch-progress"]
    assert len(log.getvalue()) == ended


def test_lines_of_progress_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    now = [0.0]
    waits: list[float] = []
    monkeypatch.setattr("todobatch.cli.views.console.time.monotonic", lambda: now[0])
    display = console.Display()

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        now[0] += seconds
        if len(waits) == 8:
            display._step = None
        return True

    monkeypatch.setattr(console, "FIRST_LINE_S", 10.0)
    monkeypatch.setattr(display._changed, "wait", wait)
    display._step = console._Step("running the job", 0.0, 5, None, failed=0)
    display._pause = display._due = console.FIRST_LINE_S
    display._write_lines()
    assert [round(each, 1) for each in waits] == [10.0, 15.0, 22.5, 33.8, 50.6, 60.0, 60.0, 60.0]
    assert log.getvalue().count("running the job: 5 tasks, 0 failed, ") == 7


def test_tasks_of_earlier_runs_do_not_count_in_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("todobatch.cli.views.console.time.monotonic", lambda: 10.0)
    step = console._Step("s", 0.0, 1_050, 2_000, failed=0, before=1_000)
    assert step.facts() == {
        "step": "s", "done": 1_050, "total": 2_000, "elapsed_s": 10.0, "failed": 0,
        "tasks_per_s": 5.0, "left_s": 190.0,
    }  # fmt: skip
    assert step.describe() == "1,050 of 2,000 tasks, 0 failed, 5.0 tasks/s, about 3 min left"


@pytest.mark.parametrize(
    ("progress", "quiet", "shown"),
    [("auto", False, True), ("auto", True, False), ("always", True, True), ("never", False, False)],
)
def test_progress_is_shown_when_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, progress: When, quiet: bool, shown: bool
) -> None:
    log = log_of(monkeypatch)
    with console.Display(Log("bench", progress=progress, quiet=quiet)) as display:
        display.step("block 1")
        display.message("a message")
        display.warn("a warning")
    lines = [line.split(maxsplit=1)[1] for line in log.getvalue().splitlines()]
    assert ("block 1" in lines, "a message" in lines, "a warning" in lines) == (
        shown, not quiet, True,
    )  # fmt: skip


def test_progress_of_a_log_for_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    with console.Display(Log("run", as_json=True)) as display:
        display.count("running the job", 7, 1, None)
        event = json.loads(log.wait(1)[0])
    assert {**event, "time": "", "elapsed_s": 0, "tasks_per_s": 0} == {
        "time": "", "event": "progress", "step": "running the job", "done": 7, "total": None,
        "elapsed_s": 0, "failed": 1, "tasks_per_s": 0, "left_s": None,
    }  # fmt: skip


def test_a_text_of_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(monkeypatch)
    Log("run", as_json=True).complain("x" * 100_000)
    Log("run").complain("y" * 100_000)
    first, second = log.getvalue().splitlines()
    for line in (first, second):
        assert LONGEST_MESSAGE < len(line) < LONGEST_MESSAGE + 200
    assert "cut from 100,000 characters" in json.loads(first)["cause"]


# The summary -------------------------------------------------------------------------------------


def test_300_failures_are_one_line_with_the_right_counts(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    (project / "many.txt").write_text("".join(f"boom {n}\n" for n in range(300)) + "fine\n")
    done = run_todobatch("run", "many.txt", "-w", "mine:shout", "-e", "sequential", cwd=project)
    (line,) = (line for line in done.stderr.splitlines() if " failed " in line)
    assert line.partition(" ")[2] == (
        "failed 300 tasks (0, 1, 2, 3, 4, …): RuntimeError: this one is too loud "
        "(mine.py:10, in shout)"
    )


def _view(project: Path, monkeypatch: pytest.MonkeyPatch) -> RunView:
    monkeypatch.chdir(project)
    interpreter: Any = Interpreter
    return RunView(Job(generate=1, workers=2), interpreter, Log("run"))


def test_what_is_not_shown_of_the_failures_is_counted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_of(monkeypatch)
    causes = [{"count": 4, "tasks": [n], "error": f"error {n}", "frame": None} for n in range(20)]
    failures = [{"task": 0, "title": "t", "error": "error 0", "frame": None}]
    report = {"failures": failures, "causes": causes, "failed": 500}
    _view(project, monkeypatch)._failures(report)
    *lines, last = (line.partition(" ")[2] for line in log.getvalue().splitlines())
    assert lines == [f"failed 4 tasks ({n}, …): error {n}" for n in range(FAILURES_SHOWN)]
    assert last == "and 420 more failed tasks; --json has the first 100, --output has all"


def test_rows_of_replaced_workers_are_summed(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"process-{n}" for n in range(375)]
    totals: list[dict[str, Any]] = [
        {"worker": name, "pid": 1, "batches": 1, "tasks": n % 7, "busy_s": 1.0, "cpus": [0]}
        for n, name in enumerate(names)
    ]
    stats = [
        {"worker": name, "busy_s": 1.0, "idle_s": 3.0, "steals": 0, "stolen": 0, "parked_s": 0.0,
         "parkings": 0, "efficiency": 0.25} for name in names
    ]  # fmt: skip
    report = {"worker_totals": totals, "worker_stats": stats}
    _view(project, monkeypatch)._workers(report)
    _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    done = sum(each["tasks"] for each in totals)
    assert " ".join(rows[2].split()) == f"373 more 373 {done - 12} 373 s 1119 s 25 %"
