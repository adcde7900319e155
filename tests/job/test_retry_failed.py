"""`--retry-failed` with a journal, changed code, and a job that has nothing left to do."""

import json
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from tests.tools.killed_at_each_write import cases_of
from todobatch.job.code import code_of

FLAKY = (
    "from helper import check\n"
    "def work(task):\n"
    "    with open('ran', 'a') as file:\n"
    "        file.write('.')\n"
    "    return check(task)\n"
)
RUN = (
    "run", "list.txt", "-w", "mine:work", "--batch-size", "5", "--journal", "j.db",
    "-o", "out.jsonl", "--json",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 40 tasks, of which two fail until `helper.py` is mended."""
    (tmp_path / "mine.py").write_text(FLAKY)
    (tmp_path / "helper.py").write_text(
        "def check(task):\n"
        "    if task.title in ('task 7', 'task 23'):\n"
        "        raise ValueError('not yet')\n"
        "    return task.title\n"
    )
    (tmp_path / "list.txt").write_text("".join(f"task {number}\n" for number in range(40)))
    return tmp_path


def mend(folder: Path) -> None:
    (folder / "helper.py").write_text("def check(task):\n    return task.title\n")
    (folder / "ran").unlink()


def test_the_failed_tasks_alone_run_again_and_their_rows_replace_the_old_ones(
    run_todobatch: RunTodobatch, folder: Path
) -> None:
    first = run_todobatch(*RUN, cwd=folder)
    assert first.returncode == 1, first.stderr
    again = run_todobatch(*RUN[:-1], cwd=folder)
    assert again.returncode == 1, "nothing to do, and the same outcome"
    assert "nothing to do: all 40 tasks of the journal are done" in again.stderr
    assert "--retry-failed runs the 2 failed tasks again" in again.stdout
    assert (folder / "ran").stat().st_size == 40
    mend(folder)
    other = run_todobatch(*RUN, cwd=folder)
    assert other.returncode == 2
    assert "mine:work has changed since 40 tasks were done (modules: helper)" in other.stderr
    assert "pass --changed-code keep" in other.stderr
    assert "name a new journal and a new --output" in other.stderr
    retried = run_todobatch(*RUN, "--retry-failed", cwd=folder)
    assert retried.returncode == 0, retried.stderr
    assert "38 tasks are done, 2 failed tasks run again" in retried.stderr
    assert "the workload's code has changed since the last run: helper" in retried.stderr
    assert (folder / "ran").stat().st_size == 2
    document = json.loads(retried.stdout)
    assert (document["failed"], document["resumed_tasks"], document["code_versions"]) == (0, 38, 2)
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["task"])
    assert rows == [
        {"task": number, "title": f"task {number}", "result": f"task {number}"}
        for number in range(40)
    ]
    assert not list(folder.glob("out.jsonl.*"))
    whole = run_todobatch(*RUN[:6], "--json", cwd=folder)
    assert {key: json.loads(whole.stdout)[key] for key in ("digest", "result", "failures")} == {
        key: document[key] for key in ("digest", "result", "failures")
    }


def test_changed_code_may_be_kept(run_todobatch: RunTodobatch, folder: Path) -> None:
    assert run_todobatch(*RUN, cwd=folder).returncode == 1
    mend(folder)
    kept = run_todobatch(*RUN[:-1], "--changed-code", "keep", cwd=folder)
    assert kept.returncode == 1, "the failed tasks are not run again"
    assert "the workload's code has changed since the last run: helper" in kept.stderr


def test_a_finished_job_gives_its_report_again_without_starting_anything(
    run_todobatch: RunTodobatch, folder: Path
) -> None:
    (folder / "list.jsonl").write_text('{"title": "a"}\nbroken\n{"title": "b"}\n')
    run = ("run", "list.jsonl", "--journal", "j.db", "-o", "out.jsonl", "--json")
    first, second = (run_todobatch(*run, cwd=folder) for _ in range(2))
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert one["skipped_records"] == two["skipped_records"] != []
    changed = {key for key in one if one[key] != two[key]}
    assert changed == {"resumed_tasks", "runs", "journal_s"}


def test_the_code_is_the_module_and_its_helpers_but_no_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fingerprinted"
    (package / "site-packages").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "own.py").write_text("from fingerprinted import other\ndef work(task): ...\n")
    (package / "other.py").write_text("import beside_it\n")
    (tmp_path / "beside_it.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = code_of("fingerprinted.own:work")
    assert set(found) == {"fingerprinted", "fingerprinted.own", "fingerprinted.other"}
    assert code_of("fingerprinted.own:work") == found
    (package / "other.py").write_text("import beside_it  # changed\n")
    assert {name for name, digest in code_of("fingerprinted.own:work").items()
            if digest != found[name]} == {"fingerprinted.other"}  # fmt: skip
    assert code_of("no.such.module:work") == {}
    assert set(code_of("pipeline")) == {"todobatch"}


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.thread_unsafe(reason="what it tests is in other processes")
def test_a_kill_at_each_write_of_a_retry_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, "retry")
    assert len(cases) > 25, "each batch has its writes, and each was tried"
    whole = cases[0]
    assert whole["once"]
    assert whole["failed"] == 0
    assert whole["left"] == ["j.db", "out.jsonl"]
    for case in cases[1:]:
        assert {**case, "kill_at": 0, "resumed": []} == {**whole, "resumed": []}, case["kill_at"]
