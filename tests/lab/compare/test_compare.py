"""Two runs are compared: made-up ones with known answers, and a real one."""

import json
import math
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.conftest import ROOT, RunTodobatch
from tests.tools.made_up import FREE, FREE_4, PROCESSES, SEQ, SEQ_T, THREADS, meta, sample
from todobatch.cli.app import app
from todobatch.cli.compare import _drop
from todobatch.cli.shared.options import share_of
from todobatch.cli.views.compare import MARKDOWN_LIMIT, as_json, as_markdown, as_text
from todobatch.errors import UsageError
from todobatch.lab.compare.compare import Row, RunComparison, compare
from todobatch.lab.compare.gates import gate_on_slower
from todobatch.lab.compare.inputs import measurements_of_run
from todobatch.lab.store.folder import Run, load_run
from todobatch.lab.store.schema import SCHEMA, Cell, Control, Estimate, RunMeta
from todobatch.lab.store.writer import create_run

QUICK = ROOT / "results" / "published" / "quick"
WAITS = Cell("io-wait", "3.14", "threads", 2)
TIMES = {SEQ: 1.0, THREADS: 1.02, SEQ_T: 1.1, FREE: 0.55, FREE_4: 0.56}


def taken(
    seconds: Mapping[Cell, float] = TIMES,
    *,
    day: int = 5,
    slowness: float = 1.0,
    blocks: int = 8,
    controls: bool = False,
) -> Run:
    """Make a run of that day: the machine drifts by 20 %, and samples vary by half a percent."""
    wobble = random.Random(day)
    samples, loads = [], []
    for block in range(blocks):
        machine = slowness * (1 + 0.2 * math.sin(day * (block + 1)))
        started = f"2026-01-{day:02}T10:{block:02}:00.000+00:00"
        for cell, wall in seconds.items():
            waits = cell.workload == "io-wait"
            wall_s = wall * (1.0 if waits else machine) * math.exp(wobble.gauss(0, 0.005))
            cpu_s = 0.01 if waits else wall_s
            samples.append(sample(cell, block=block, wall_s=wall_s, cpu_s=cpu_s, started=started))
        loads += [
            Control(SCHEMA, block, "start", 0.1 * machine, 0.1 * machine, started),
            Control(SCHEMA, block, "end", 0.101 * machine, 0.1 * machine, started),
        ]
    found = meta(cells=tuple(seconds), blocks=blocks)
    return Run(found, samples, controls=tuple(loads) if controls else ())


def slowed(run: Run, cell: Cell, factor: float) -> Run:
    """Return the same run, in which every sample of one cell took longer."""
    samples = [
        replace(each, wall_s=each.wall_s * factor) if each.cell == cell else each
        for each in run.samples
    ]
    return replace(run, samples=samples)


def compared(a: Run, b: Run, *, force: bool = False) -> RunComparison:
    return compare(measurements_of_run(a), measurements_of_run(b), force=force)


def row_of(outcome: RunComparison, cell: Cell) -> Row:
    return next(row for row in outcome.rows if row.cell == cell)


def significant(outcome: RunComparison) -> set[str]:
    return {row.name for row in outcome.rows if row.significant}


def written(run: Run, folder: Path) -> Path:
    with create_run(folder, run.meta) as opened:
        for each in run.samples:
            opened.append(each)
        for control in run.controls:
            opened.append_control(control)
    return folder


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


# A real run against a copy of itself --------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(QUICK, tmp_path / "copy"))


def slow_down(folder: Path, factor: float) -> str:
    """Make one cell of a run folder slower, and return its name."""
    path = folder / "samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = load_run(folder).meta.plan.cells[1].key
    for line in lines:
        key = "/".join(str(line[n]) for n in ("workload", "interpreter", "executor", "workers"))
        if key == wanted and line["wall_s"] is not None:
            line["wall_s"] *= factor
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return wanted


def test_in_a_copied_run_nothing_is_significant(copy: Path, run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("compare", QUICK, copy, "--fail-on-slower", "3%", "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["rows"]) == len(load_run(QUICK).meta.plan.cells)
    assert {row["significant"] for row in document["rows"]} == {False}
    assert {row["method"] for row in document["rows"]} == {"paired"}
    assert document["gate"]["failed"] is False


def test_ten_percent_in_one_cell_are_found_there_and_nowhere_else(
    copy: Path, run_todobatch: RunTodobatch
) -> None:
    slower = slow_down(copy, 1.10)
    done = run_todobatch("compare", QUICK, copy, "--fail-on-slower", "3%", "--format", "json")
    assert done.returncode == 3, done.stderr
    assert slower in done.stderr
    document = json.loads(done.stdout)
    (found,) = [row for row in document["rows"] if row["significant"]]
    assert (found["name"], found["verdict"]) == (slower, "slower")
    assert found["ratio"]["estimate"] == pytest.approx(1.10)
    assert document["rows"][0] == found  # the largest effect comes first
    assert document["gate"]["checks"][0]["failed"] == [slower]


def test_the_text_lists_what_differs_and_folds_the_rest(copy: Path) -> None:
    slower = slow_down(copy, 1.10)
    cells = len(load_run(QUICK).meta.plan.cells)
    folded, whole = invoke(QUICK, copy), invoke(QUICK, copy, "--all")
    assert folded.exit_code == whole.exit_code == 0
    rows = [line for line in folded.output.splitlines() if " pairs " in line]
    assert [row.split()[:2] for row in rows] == [[slower, "1.100×"]]
    assert f"{cells - 1} cells show no significant difference" in folded.output
    assert "--all lists them" in folded.output
    assert sum(" pairs " in line for line in whole.output.splitlines()) == cells


# What must be the same ----------------------------------------------------------------------------


def changed_interpreter(found: RunMeta, **changes: Any) -> RunMeta:
    facts = {**found.interpreters["3.14"], **changes}
    return replace(found, interpreters={**found.interpreters, "3.14": facts})


def changed_shape(found: RunMeta, **changes: Any) -> RunMeta:
    shapes = tuple(replace(shape, **changes) for shape in found.plan.shapes)
    return replace(found, plan=replace(found.plan, shapes=shapes))


DIFFERENT: dict[str, Callable[[RunMeta], RunMeta]] = {
    "machine cpu_model: Made-up CPU in A, Another CPU in B": lambda m: replace(
        m, machine={**m.machine, "cpu_model": "Another CPU"}
    ),
    "machine cpus_available: 2 in A, 8 in B": lambda m: replace(
        m, machine={**m.machine, "cpus_available": 8}
    ),
    "interpreter 3.14 version: 3.14.7 in A, 3.14.8 in B": lambda m: changed_interpreter(
        m, version="3.14.8"
    ),
    "interpreter 3.14 lto_build: False in A, True in B": lambda m: changed_interpreter(
        m, lto_build=True
    ),
    "workload example8 batch_size: 10 in A, 20 in B": lambda m: changed_shape(m, batch_size=20),
    "workload example8 digest: d in A, e in B": lambda m: changed_shape(m, digest="e"),
    "plan source seed: 3 in A, 4 in B": lambda m: replace(
        m, plan=replace(m.plan, source={"kind": "generator", "seed": 4})
    ),
    "plan today: 2026-01-05 in A, 2026-01-06 in B": lambda m: replace(
        m, plan=replace(m.plan, today="2026-01-06")
    ),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_what_differs_is_refused_and_named(difference: str) -> None:
    run = taken()
    other = replace(run, meta=DIFFERENT[difference](run.meta))
    with pytest.raises(UsageError, match="force=True") as refused:
        compared(run, other)
    assert refused.value.cause == f"these cannot be compared, because they differ: {difference}"
    assert compared(run, other, force=True).differences == (difference,)


def test_another_machine_is_refused_by_the_command_and_marked_when_forced(
    copy: Path, run_todobatch: RunTodobatch
) -> None:
    found = json.loads((copy / "run.json").read_text())
    found["machine"] |= {"cpu_model": "Another | CPU", "memory_bytes": 1_000_000_000}
    (copy / "run.json").write_text(json.dumps(found))
    refused = run_todobatch("compare", QUICK, copy)
    assert refused.returncode == 2
    assert "machine cpu_model: " in refused.stderr
    assert "machine memory: " in refused.stderr
    text, markdown, document = (
        run_todobatch("compare", QUICK, copy, "--force", "--format", name)
        for name in ("text", "markdown", "json")
    )
    assert text.returncode == markdown.returncode == document.returncode == 0
    assert "(forced)" in text.stdout.splitlines()[0]
    assert "Forced: A and B differ in machine cpu_model: " in text.stdout
    assert "(forced)" in markdown.stdout.splitlines()[0]
    assert "Another \\| CPU in B" in markdown.stdout
    forced = json.loads(document.stdout)
    assert forced["forced"] is True
    assert len(forced["refused_differences"]) == 2


def test_another_todobatch_is_what_is_compared_and_stands_in_the_heading() -> None:
    run = taken()
    newer = replace(
        run.meta, todobatch_version="9.9.9", git={"commit": "abcdef0123", "dirty": True}
    )
    outcome = compared(run, replace(run, meta=newer))
    assert outcome.differences == ()
    assert "todobatch 9.9.9, commit abcdef0 with changes" in as_text(outcome)


def test_a_fact_that_one_side_lacks_is_not_a_difference() -> None:
    run = taken()
    known = replace(run, meta=replace(run.meta, machine={**run.meta.machine, "kernel": "Linux 6"}))
    assert compared(known, run).differences == compared(run, known).differences == ()


def test_an_interpreter_that_is_not_in_common_may_differ() -> None:
    a, b = taken({SEQ: 1.0, SEQ_T: 1.0}), taken({SEQ: 1.0})
    facts = {**b.meta.interpreters, "3.14t": {"version": "3.14.9"}}
    outcome = compared(a, replace(b, meta=replace(b.meta, interpreters=facts)))
    assert outcome.differences == ()


def test_cells_of_one_run_only_are_named() -> None:
    outcome = compared(taken({SEQ: 1.0, THREADS: 1.0}), taken({SEQ: 1.0, PROCESSES: 1.0}))
    assert [row.cell for row in outcome.rows] == [SEQ]
    text = as_text(outcome)
    assert f"Only in A, not compared (1): {THREADS.key}" in text
    assert f"Only in B, not compared (1): {PROCESSES.key}" in text


def test_runs_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match=r"nothing in common: A has example8/3.14/sequential/1, B"):
        compared(taken({SEQ: 1.0}), taken({THREADS: 1.0}))
    nothing = replace(taken({SEQ: 1.0}), samples=[])
    with pytest.raises(UsageError, match="B has no good sample"):
        compared(taken({SEQ: 1.0}), nothing)


def test_voids_are_in_no_figure_and_counted() -> None:
    run = taken()
    spoiled = replace(run, samples=[*run.samples, sample(SEQ, block=99, wall_s=50.0, void="late")])
    outcome = compared(run, spoiled)
    assert significant(outcome) == set()
    assert "B: 1 of 41 samples are void" in as_text(outcome)


# Gates --------------------------------------------------------------------------------------------


def test_the_efficiency_gate_ends_the_command_with_3(tmp_path: Path) -> None:
    run = taken()
    a = written(run, tmp_path / "a")
    b = written(slowed(run, FREE, 1.10), tmp_path / "b")
    for name in ("text", "markdown"):
        done = invoke(a, b, "--fail-on-efficiency-drop", "3%@2", "--format", name)
        assert done.exit_code == 3
        assert "efficiency of" in done.output
        assert f"Failed --fail-on-efficiency-drop 3%@2: 1 of 2 cells: {FREE.key}" in (done.output)
    assert invoke(a, b, "--fail-on-efficiency-drop", "3%@4").exit_code == 0
    assert invoke(a, b, "--fail-on-slower", "20%").exit_code == 0


@pytest.mark.parametrize(
    ("text", "limit"),
    [("3%", 0.03), ("3 %", 0.03), (" 0.03 ", 0.03), ("0%", 0.0), ("150%", 1.5), (".5", 0.5)],
)
def test_a_limit_is_a_percentage_or_a_fraction(text: str, limit: float) -> None:
    assert share_of(text, "--fail-on-slower") == pytest.approx(limit)


@pytest.mark.parametrize("text", ["", "%", "-3%", "-0.03", "3", "1", "much", "nan", "1e-2", "3%%"])
def test_nonsense_is_not_a_share(text: str) -> None:
    with pytest.raises(UsageError, match=r"such as 3% or 0.03"):
        share_of(text, "--fail-on-slower")


def test_an_efficiency_drop_may_be_for_one_number_of_workers() -> None:
    assert _drop("3%") == (0.03, None)
    assert _drop("3 % @ 4") == (0.03, 4)


@pytest.mark.parametrize("text", ["3%@", "3%@1", "3%@-2", "3%@x", "@4", "100%", "3@4", "3%@2@2"])
def test_nonsense_is_no_efficiency_drop(text: str) -> None:
    with pytest.raises(UsageError, match="--fail-on-efficiency-drop"):
        _drop(text)


# Formats ------------------------------------------------------------------------------------------


def test_markdown_is_a_heading_a_table_and_a_folded_rest() -> None:
    run = taken()
    outcome = compared(run, slowed(run, FREE, 1.10))
    gate = gate_on_slower(outcome, 0.03, "--fail-on-slower 3%")
    text = as_markdown(outcome, [gate])
    assert text.startswith("### B against A: 1 slower, 0 faster of 5 cells")
    assert f"| `{FREE.key}` | 1.100× | [1.100, 1.100] | slower | 8 pairs | paired |" in text
    shown, folded = text.split("<details><summary>4 cells show no significant difference")
    assert SEQ.key not in shown
    assert SEQ.key in folded
    assert folded.count("</details>") == 1
    assert "**Failed --fail-on-slower 3%: 1 of 5 cells: example8/3.14t/threads/2**" in text


def test_markdown_fits_into_a_comment_however_much_there_is() -> None:
    name = "n" * 5000 + "|<b>`@"
    rows = tuple(
        Row(f"{name}{n}", None, Estimate(2, 2, 2), verdict, (9, 9), 9, "paired")
        for n in range(900)
        for verdict in ("slower", "inconclusive")
    )
    names = tuple(row.name for row in rows)
    side = replace(measurements_of_run(taken()), notes=(name * 9,))
    outcome = RunComparison(side, side, rows, rows, names, names, names)
    gates = [gate_on_slower(outcome, 0.03, "--fail-on-slower 3%")]
    gates.append(replace(gates[0], option="--fail-on-efficiency-drop 3%"))
    text = as_markdown(outcome, gates)
    assert 30_000 < len(text) < MARKDOWN_LIMIT
    assert "more, too many for a comment" in text
    assert text.count("<details>") == text.count("</details>") == 2


def test_json_has_the_cell_of_every_row_and_null_without_a_gate() -> None:
    run = taken()
    outcome = compared(run, slowed(run, FREE, 1.10))
    document = json.loads(as_json(outcome))
    first = document["rows"][0]
    assert {name: first[name] for name in ("executor", "workload", "workers", "interpreter")} == {
        "executor": "threads",
        "workload": "example8",
        "workers": 2,
        "interpreter": "3.14t",
    }
    assert set(first["ratio"]) == {"estimate", "low", "high"}
    assert (first["pairs"], first["samples"]) == (8, {"a": 8, "b": 8})
    assert (document["gate"], document["forced"]) == (None, False)
    assert document["efficiency"][0]["verdict"] == "lower"


def test_an_unknown_format_is_refused() -> None:
    refused = invoke(QUICK, QUICK, "--format", "xml")
    assert isinstance(refused.exception, UsageError)
    said = str(refused.exception)
    assert all(name in said for name in ("xml", "text", "markdown", "json"))
