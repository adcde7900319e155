"""`todobatch run` as a user types it, on the real interpreters."""

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import document_of
from tests.conftest import ROOT, RunTodobatch
from todobatch.lab.interpreters import Interpreter

EXAMPLES = ROOT / "examples"
EXECUTORS = ["sequential", "threads", "interpreters", "processes", "coroutines"]
DOCUMENT = {
    "executor", "workers", "interpreter", "gil_enabled", "tasks", "failed", "wall_s", "cpu_s",
    "peak_bytes", "digest", "batches",
}  # fmt: skip


@pytest.mark.interpreters
def test_every_executor_gives_one_digest_on_both_interpreters(
    run_todobatch: RunTodobatch, python314: Interpreter, python314t: Interpreter
) -> None:
    digests = set()
    for python in (python314, python314t):
        for executor in EXECUTORS:
            done = run_todobatch(
                "run", EXAMPLES / "todo.txt", "--executor", executor, "--workers", "4",
                "--batch-size", "9", "--json", interpreter=python,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            document = document_of(done.stdout)
            assert set(document) >= DOCUMENT
            assert (document["executor"], document["workers"]) == (executor, 4)
            assert document["failed"] == document["skipped"] == 0
            assert document["gil_enabled"] is (python is python314)
            assert document["cpu_s"] > 0
            assert document["peak_bytes"] > 1_000_000
            assert document["speedup"] > 0
            digests.add(document["digest"])
    assert len(digests) == 1


def test_the_summary_has_banner_workers_totals_and_a_measured_speedup(
    run_todobatch: RunTodobatch,
) -> None:
    done = run_todobatch("run", "--generate", "400", "-w", "example8", "-n", "2")
    assert done.returncode == 0, done.stderr
    assert f"Python {sys.version.split()[0]}, GIL on, " in done.stderr
    assert "example8 on threads, 2 workers" in done.stderr
    for part in ("thread-1", "thread-2", "CPU time", "at its peak, in all processes", "tasks/s"):
        assert part in done.stdout
    assert "over a sequential run of the same batches" in done.stdout


def test_the_report_has_what_each_worker_did(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch(
        "run", "--generate", "400", "-n", "2", "-e", "processes", "--no-baseline", "--json"
    )
    assert done.returncode == 0, done.stderr
    document = document_of(done.stdout)
    totals = {each["worker"]: each for each in document["worker_totals"]}
    assert len(document["worker_stats"]) == 2
    for each in document["worker_stats"]:
        assert each["busy_s"] >= totals.get(each["worker"], {"busy_s": 0.0})["busy_s"]
        whole = each["busy_s"] + each["idle_s"] + each["parked_s"]
        assert each["efficiency"] == pytest.approx(each["busy_s"] / whole)
    assert (document["least_workers"], document["resizes"]) == (None, [])


def test_a_range_of_workers_is_for_the_pool_that_sizes_itself(run_todobatch: RunTodobatch) -> None:
    common = ("run", "--generate", "400", "--no-baseline", "--workers", "2-3")
    done = run_todobatch(*common)
    assert done.returncode == 0, done.stderr
    assert "pipeline on elastic, 2 to 3 workers" in done.stderr
    assert "workers   2" in done.stdout
    document = document_of(run_todobatch(*common, "-e", "elastic", "--json").stdout)
    assert (document["executor"], document["least_workers"], document["workers"]) == (
        "elastic", 2, 3,
    )  # fmt: skip
    first, *others = document["resizes"]
    assert first == {"at_s": 0.0, "size": 2, "rate": None} | {"at_s": first["at_s"]}
    assert all(2 <= each["size"] <= 3 for each in others)


def test_costs_of_one_run_order_the_next(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    costs, rows = tmp_path / "costs.json", tmp_path / "rows.jsonl"
    common = ("run", "--generate", "60", "--batch-size", "10", "-n", "1", "--costs", costs)
    first = run_todobatch(*common, "--json")
    assert first.returncode == 0, first.stderr
    kept = json.loads(costs.read_text())
    assert [row[:3] for row in kept["batches"]] == [[n, 10 * n, 10] for n in range(6)]
    kept["batches"][4][3] = 1e6  # as if it had been the longest by far
    del kept["batches"][2]
    costs.write_text(json.dumps(kept))
    second = run_todobatch(*common, "--order", "longest", "-o", rows, "--json")
    assert second.returncode == 0, second.stderr
    done = [json.loads(line)["task"] // 10 for line in rows.read_text().splitlines()]
    assert list(dict.fromkeys(done))[:2] == [2, 4]  # what is not known, then the longest
    before, after = document_of(first.stdout), document_of(second.stdout)
    assert before["digest"] == after["digest"]
    assert (before["order"], after["order"]) == ("input", "longest")
    assert after["costs"] == {"file": str(costs), "before": 5, "measured": 6, "error": None}
    assert len(json.loads(costs.read_text())["batches"]) == 6


def test_an_async_function_is_a_workload_too(run_todobatch: RunTodobatch, project: Path) -> None:
    done = run_todobatch(
        "run", "todo.txt", "-w", "mine:whisper", "-e", "coroutines", "--json", cwd=project
    )
    assert done.returncode == 0, done.stderr
    assert document_of(done.stdout)["failed"] == 0


def test_a_workload_of_ones_own_is_not_run_twice_unless_asked(
    run_todobatch: RunTodobatch, project: Path
) -> None:
    done = run_todobatch("run", "todo.txt", "-w", "mine:touch", "--json", cwd=project)
    assert document_of(done.stdout)["speedup"] is None
    assert len((project / "touched").read_text().splitlines()) == 4
    run_todobatch("run", "todo.txt", "-w", "mine:touch", "--baseline", cwd=project)
    assert len((project / "touched").read_text().splitlines()) == 12


def test_workers_are_kept_on_a_cpu_each_where_that_is_asked_for(
    run_todobatch: RunTodobatch,
) -> None:
    done = run_todobatch(
        "run", "--generate", "2000", "--placement", "spread", "--no-baseline", "--json"
    )
    assert done.returncode == 0, done.stderr
    totals = document_of(done.stdout)["worker_totals"]
    assert totals
    assert all(len(worker["cpus"]) == 1 for worker in totals)
