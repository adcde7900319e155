"""What a run folder says is checked: fields, figures, and whether a sample makes sense."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTodobatch
from tests.tools.made_up import FREE, SEQ, THREADS, meta, sample, write_run
from todobatch.errors import StoreError
from todobatch.lab.stats.verdict import summarise
from todobatch.lab.store.folder import CONTROLS, LONGEST_LINE, META, SAMPLES, load_run
from todobatch.lab.store.writer import open_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = [sample(cell, block=block) for block in range(2) for cell in (SEQ, THREADS, FREE)]
    return write_run(tmp_path / "run", meta(), made)


def change_meta(folder: Path, change: Callable[[Any], object]) -> None:
    raw = json.loads((folder / META).read_text())
    change(raw)
    (folder / META).write_text(json.dumps(raw))


def change_sample(folder: Path, number: int, **changes: Any) -> None:
    raw = [json.loads(line) for line in (folder / SAMPLES).read_text().splitlines()]
    raw[number].update(changes)
    (folder / SAMPLES).write_text("".join(json.dumps(each) + "\n" for each in raw))


def set_in(*path: Any, to: Any) -> Callable[[Any], object]:
    def change(raw: Any) -> None:
        for key in path[:-1]:
            raw = raw[key]
        raw[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.pop("machine"), "'machine' is missing"),
        (lambda raw: raw["plan"]["cells"][1].pop("workers"), "plan.cells[1]: 'workers' is missing"),
        (set_in("doctor", to="x"), "doctor: 'x' is not a list"),
        (set_in("doctor", to=[{}]), "doctor[0]: 'name' is missing"),
        (set_in("plan", "blocks", to=-1), "plan.blocks: -1 is not a number from 1"),
        (set_in("plan", "seed", to=True), "plan.seed: true is not a whole number"),
        (set_in("plan", "today", to="tomorrow"), "plan.today: 'tomorrow' is not a date"),
        (set_in("plan", "cells", 0, "workers", to=10**6), "workers: 1000000 is not a number from"),
        (
            set_in("plan", "cells", 0, "workload", to="w" * 5000),
            "is not text of at most 4096 characters",
        ),
        (set_in("plan", "cells", 0, "workload", to="w"), "plan.cells[0].workload: it has no shape"),
        (set_in("plan", "cells", 0, "interpreter", to="i"), "it is not among the interpreters"),
        (set_in("plan", "shapes", 0, "batch_size", to=10**7), "not a number from 1 to 1e+06"),
        (
            lambda raw: raw["plan"]["shapes"][0].update(batches=10**5, batch_size=999),
            "it has more than 10,000,000 tasks",
        ),
        (set_in("plan", "source", to={"kind": "web"}), "plan.source.kind: 'web' is not one of"),
        (set_in("plan", "source", to={"kind": "file"}), "plan.source: it has no path"),
        (set_in("plan", "left_out", to=[["a"]]), "plan.left_out[0]: ['a'] is not a list of 2"),
        (set_in("machine", "cpus_available", to="2"), "machine.cpus_available: '2' is not a whole"),
        (set_in("machine", "load", to=[]), "machine.load: [] is not a list of at least one number"),
        (set_in("machine", "later", to=math.inf), "Infinity is not a number"),
        (set_in("interpreters", "3.14", to={}), "interpreters.3.14: 'cache_tag' is missing"),
        (set_in("interpreters", "3.14", "gil_enabled", to=1), "1 is not true or false"),
        (
            lambda raw: raw["plan"]["shapes"].append({**raw["plan"]["shapes"][0], "batches": 1}),
            "plan.shapes[1].workload: plan.shapes[0] has the same workload 'example8'",
        ),
        (
            lambda raw: raw["plan"]["cells"].append(raw["plan"]["cells"][2]),
            "plan.cells[6]: it is the same cell as plan.cells[2]",
        ),
        (
            set_in("plan", "cells", 0, "workers", to=7),
            "plan.cells[0].workers: sequential has 1 worker, not 7",
        ),
        (set_in("schema", to=True), "the schema version is true, not a whole number"),
        (set_in("schema", to=2.0), "the schema version is 2.0, not a whole number"),
        (set_in("schema", to=0), "the schema version is 0, not 1 or more"),
        (set_in("plan", "budget_s", to=1.7e308), "plan.budget_s: 1.7e+308 is too large"),
        (set_in("plan", "budget_s", to=10**400), "00000 is too large"),
        (set_in("plan", "left_out", to=[[None]]), "plan.left_out[0]: [null] is not a list of 2"),
        (set_in("plan", "today", to="None"), "plan.today: 'None' is not a date"),
        (set_in("git", "dirty", to="no"), "git.dirty: 'no' is not true or false"),
        (set_in("started", to="0001-01-01"), "started: '0001-01-01' is not a date and time"),
    ],
)
def test_a_wrong_field_of_run_json_is_named(
    folder: Path, change: Callable[[Any], object], words: str
) -> None:
    change_meta(folder, change)
    with pytest.raises(StoreError) as refused:
        load_run(folder)
    assert refused.value.place == str(folder / META)
    assert "damaged" in refused.value.cause
    assert words in refused.value.cause


@pytest.mark.parametrize("number", [3, 5])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"wall_s": 0.0}, "wall_s: 0.0 is not a number from 1e-09"),
        ({"wall_s": -0.5}, "wall_s: -0.5 is not a number from 1e-09"),
        ({"wall_s": "1"}, "wall_s: '1' is not a number"),
        ({"wall_s": True}, "wall_s: true is not a number"),
        ({"wall_s": 1e30}, "wall_s: 1e+30 is not a number from 1e-09 to 1e+09"),
        ({"cpu_s": -1}, "cpu_s: -1 is not a number from 0"),
        ({"cpu_s": {}}, "cpu_s: {} is not a number"),
        ({"tasks": -1}, "tasks: -1 is not a number from 0"),
        ({"tasks": 1.5}, "tasks: 1.5 is not a whole number"),
        ({"void": True}, "void: true is not text"),
        ({"block": None}, "block: null is not a whole number"),
        ({"worker_totals": [{}]}, "worker_totals[0]: 'batches' is missing"),
        ({"worker_totals": [{"worker": "w", "batches": -1}]}, "worker_totals[0].batches: -1"),
        ({"spans": [[0, 1]]}, "spans: [[0, 1]] is not a list of lists of 4 to 8 numbers"),
        ({"spans": [[0, 1, None, 2]]}, "spans"),
        ({"cpu_quota": ["2"]}, "cpu_quota[0]: '2' is not a number"),
        ({"started": "now"}, "started: 'now' is not a date and time"),
    ],
)
def test_a_wrong_field_of_a_sample_is_named_with_its_line(
    folder: Path, number: int, changes: dict[str, Any], words: str
) -> None:
    change_sample(folder, number, **changes)
    for use in (load_run, open_run):
        with pytest.raises(StoreError) as refused:
            use(folder)
        assert refused.value.place == str(folder / SAMPLES)
        assert f"line {number + 1}: {words}" in refused.value.cause


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_damage(folder: Path, value: str) -> None:
    lines = (folder / SAMPLES).read_text().splitlines()
    lines[3] = lines[3].replace('"wall_s":1.0', f'"wall_s":{value}')
    (folder / SAMPLES).write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreError, match="line 4"):
        load_run(folder)


@pytest.mark.parametrize("name", [META, SAMPLES])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"schema":2,"schema":', "the key 'schema' occurs twice in one object"),
        (f'"later":{"9" * 5000},"schema":', "it has a number of more than 4,300 digits"),
    ],
)
def test_json_with_two_meanings_or_none_is_damage(
    folder: Path, name: str, text: str, words: str
) -> None:
    before = (folder / name).read_text().replace('"schema": ', '"schema":')
    (folder / name).write_text(before.replace('"schema":', text, 1))
    with pytest.raises(StoreError) as refused:
        load_run(folder)
    where = "line 1: " if name == SAMPLES else ""
    assert refused.value.cause == f"the file is damaged: {where}{words}"


def test_a_control_load_is_checked_too(folder: Path) -> None:
    line = {"schema": 2, "block": 0, "when": "later", "wall_s": 1, "cpu_s": 1, "started": ""}
    (folder / CONTROLS).write_text(json.dumps(line) + "\n")
    with pytest.raises(StoreError, match="line 1: when: 'later' is not one of start, end"):
        load_run(folder)


@pytest.mark.parametrize(
    ("number", "changes", "reason"),
    [
        (0, {"failed": 5}, "5 tasks failed"),
        (0, {"digest": "forged"}, "its output differs from that of sequential"),
        (0, {"wall_s": None}, "its times are missing"),
        (
            0,
            {"cpu_s": 98.0},
            "it used 98.0 s of CPU time in 1.00 s, more than 2 CPUs can give: a clock was changed",
        ),
        (
            0,
            {"cpu_s": 1.9},
            (
                "it used 1.90 s of CPU time in 1.00 s with 1 worker: a clock was changed, or the "
                "workload runs threads or processes of its own; limit it to one thread, for "
                "example with OMP_NUM_THREADS=1"
            ),
        ),
        (
            0,
            {"wall_s": 98.0},
            (
                "it took 98.0 s by its own clock, but its process lived for 1.30 s: the clock was "
                "changed"
            ),
        ),
        (
            0,
            {"spans": [[0, 0, 0.0, 0.1], [0, 1, 0.3, 0.2]]},
            "its batch 1 ends before it starts: a clock was changed",
        ),
        (0, {"batches": 7}, "it has 80 tasks in 7 batches, unlike the plan"),
        (0, {"block": 99}, "it is not in the plan"),
        (0, {"workers": 7}, "it is not in the plan"),
        (0, {"gil_enabled": False}, "the GIL was off in an interpreter that has one"),
        (2, {"gil_enabled": True}, "the GIL was on in a free-threaded interpreter"),
        (
            2,
            {"worker_totals": [{"worker": "w", "batches": 8, "gil_after": True}]},
            "the GIL was on in a free-threaded interpreter",
        ),
    ],
)
def test_a_sample_that_makes_no_sense_is_void_when_it_is_read(
    folder: Path, number: int, changes: dict[str, Any], reason: str
) -> None:
    before = load_run(folder)
    assert all(each.void is None for each in before.samples)
    change_sample(folder, number, **changes)
    run = load_run(folder)
    assert [each.void for each in run.samples].count(reason) == 1
    assert run.samples[number].void == reason
    with open_run(folder) as opened:
        assert opened.samples == run.samples or math.isnan(run.samples[number].wall_s)


def test_the_first_valid_sample_of_a_cell_in_a_block_stands(folder: Path) -> None:
    with (folder / SAMPLES).open("a") as file:
        first = json.loads((folder / SAMPLES).read_text().splitlines()[0])
        file.write(json.dumps({**first, "wall_s": 0.001}) + "\n")
    run = load_run(folder)
    assert run.samples[-1].void == "its block has a valid sample of this cell already"
    [sequential] = [each for each in summarise(run) if each.cell == SEQ]
    assert sequential.wall_s.estimate == pytest.approx(1.0)


def test_a_void_sample_may_be_followed_by_a_valid_one(tmp_path: Path) -> None:
    made = [sample(SEQ, void="crashed"), sample(SEQ), sample(THREADS)]
    run = load_run(write_run(tmp_path / "run", meta(), made))
    assert [each.void for each in run.samples] == ["crashed", None, None]


@pytest.mark.parametrize("name", [META, SAMPLES])
def test_deeply_nested_json_is_damage(folder: Path, name: str) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000 + b"\n"
    (folder / name).write_bytes(deep + (folder / name).read_bytes())
    with pytest.raises(StoreError, match="nested too deep"):
        load_run(folder)


def test_deep_values_of_unknown_fields_are_damage(folder: Path) -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    change_meta(folder, set_in("machine", "later", to=deep))
    with pytest.raises(StoreError, match=r"machine\.later: \[\[.* is not JSON that is nested"):
        load_run(folder)


def test_a_line_without_an_end_is_not_read_into_memory(folder: Path) -> None:
    with (folder / SAMPLES).open("ab") as file:
        file.truncate(file.tell() + LONGEST_LINE + 1)
    with pytest.raises(StoreError, match=r"line 7 is longer than 16\.0 MB"):
        load_run(folder)


@pytest.mark.parametrize("command", ["show", "report"])
def test_commands_end_with_6(
    run_todobatch: RunTodobatch, folder: Path, tmp_path: Path, command: str
) -> None:
    change_sample(folder, 3, wall_s=0.0)
    more = ("-o", str(tmp_path / "site")) if command == "report" else ()
    done = run_todobatch(command, folder, *more)
    assert done.returncode == 6, done.stderr
    assert "samples.jsonl: the file is damaged: line 4: " in done.stderr
