"""`todobatch show` prints a run as tables and as JSON."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from tests.tools.made_up import FREE, SEQ, SEQ_T, THREADS, drifting, run_of, sample
from todobatch.cli.views import show
from todobatch.errors import UsageError
from todobatch.lab.store.folder import Run


@pytest.fixture
def run() -> Run:
    return run_of(
        {
            SEQ: drifting(1.0, 0.01),
            THREADS: drifting(1.02),
            SEQ_T: drifting(1.1),
            FREE: drifting(0.55, 0.01),
        }
    )


def shown(run: Run, **options: Any) -> str:
    out = io.StringIO()
    show.show(run, screen=Console(file=out, width=80), **options)
    return out.getvalue()


def test_the_table_has_a_row_a_cell_that_fits_into_80_columns(run: Run) -> None:
    text = shown(run)
    rows = [line for line in text.splitlines() if " MB " in line]
    assert len(rows) == 4
    assert all(len(line) <= 80 and "…" not in line for line in rows)
    free = next(line for line in rows if line.startswith("free-threads"))
    assert free.split()[:3] == ["free-threads", "3.14t", "2"]
    assert "2.00× [1.97, 2.02]" in free
    assert free.split()[-1] == "5"


def test_the_verdict_and_the_reasons_stand_under_the_table(run: Run) -> None:
    table, analysis = shown(run).split("example8: ", 1)
    assert "approach" in table
    assert analysis.startswith("free-threads on 3.14t, 2 workers is fastest")
    assert "- threads (GIL) on 3.14, 2 workers: " in analysis


def test_a_quick_run_says_that_it_is_quick(run: Run) -> None:
    assert "quick" not in shown(run)
    quick = replace(run.meta, plan=replace(run.meta.plan, mode="quick"))
    assert "This was a quick run" in shown(Run(quick, run.samples))


def test_voids_are_told_with_their_reason(run: Run) -> None:
    void = sample(FREE, block=2, void="the GIL was on in a free-threaded interpreter (worker w1)")
    text = shown(Run(run.meta, [*run.samples, void]))
    assert "1 of 21 samples are void and left out of all figures:" in text
    assert "block 3, example8/3.14t/threads/2: the GIL was on" in text
    assert "5+1 void" in text


def test_an_unfinished_and_torn_run_says_so(run: Run) -> None:
    unfinished = Run(replace(run.meta, ended=None), run.samples, torn=True)
    text = shown(unfinished)
    assert "todobatch bench --resume made-up" in text
    assert "The last line of samples.jsonl is incomplete" in text


def test_a_busy_machine_is_told(run: Run) -> None:
    busy = replace(run.meta, machine={**run.meta.machine, "load": [3.5, 1, 1]})
    assert "busy at the start (load 3.5 on 2 CPUs)" in shown(Run(busy, run.samples))


def test_workers_that_got_nothing_are_told(run: Run) -> None:
    lazy = sample(THREADS, block=7, worker_totals=[{"worker": "w0", "batches": 8}])
    text = shown(Run(run.meta, [*run.samples, lazy]))
    assert "In 1 sample some workers got no batch: example8/3.14/threads/2" in text


def test_a_run_without_a_sample_is_shown_too(run: Run) -> None:
    text = shown(Run(run.meta, []))
    assert "example8: no valid sample yet" in text
    assert json.loads(show.as_json(Run(run.meta, [])))["cells"] == []


def test_one_workload_may_be_chosen_and_an_unknown_one_is_refused(run: Run) -> None:
    assert "example8: " in shown(run, workload="example8")
    with pytest.raises(UsageError, match=r"'nonsense' is not in this run"):
        shown(run, workload="nonsense")


def test_json_has_null_where_nothing_is_known(run: Run) -> None:
    single = Run(run.meta, [each for each in run.samples if each.block == 0])
    document = json.loads(show.as_json(single))
    free = next(
        c for c in document["cells"] if (c["interpreter"], c["executor"]) == ("3.14t", "threads")
    )
    assert free["speedup"] == {"estimate": pytest.approx(2.0, rel=0.05), "low": None, "high": None}
    assert free["gil_enabled"] is False
    assert free["approach"] == "free-threads"
    assert document["winners"][0]["verdict"] == "inconclusive"


def test_markup_in_a_name_is_text(run: Run) -> None:
    void = sample(FREE, block=2, void="[bold]ValueError: [/nope]")
    assert "[bold]ValueError: [/nope]" in shown(Run(run.meta, [*run.samples, void]))


def test_a_workload_that_pins_its_workers_is_noted(run: Run) -> None:
    worker = {"worker": "main", "batches": 8, "gil_before": True, "gil_after": True}
    moved = {**worker, "allowed_before": [0, 1], "allowed_after": [1]}
    stayed = {**worker, "allowed_before": [0, 1], "allowed_after": [0, 1]}
    assert "may use" not in shown(Run(run.meta, [sample(SEQ, worker_totals=[stayed])]))
    text = " ".join(shown(Run(run.meta, [sample(SEQ, worker_totals=[moved])])).split())
    assert f"1 sample the workload changed which CPUs its workers may use: {SEQ.key}" in text
