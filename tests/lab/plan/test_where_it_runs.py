"""A workload is loaded where it is measured: the controller need not have what it imports."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from todobatch.child.tasks import TaskSource
from todobatch.errors import UsageError
from todobatch.lab.interpreters import Interpreter, find
from todobatch.lab.measure import versus
from todobatch.lab.plan.alone import run_command
from todobatch.lab.plan.available import unloadable, why_not_loaded
from todobatch.lab.progress import Silent
from todobatch.lab.store.folder import load_run
from todobatch.lab.store.schema import Cell

pytestmark = [pytest.mark.interpreters, pytest.mark.timeout(300)]
SOURCE: TaskSource = {"kind": "generator", "seed": 5}
NEEDS = """
import only_there, sys


def length(task):
    return only_there.length(task.title)
"""


@pytest.fixture
def there(mine: str, python314: Interpreter, tmp_path: Path) -> Interpreter:
    """Return an interpreter of a virtual environment that alone has the package `only_there`."""
    folder = tmp_path / "my environment"
    subprocess.run([python314.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "only_there.py").write_text("def length(title):\n    return len(title)\n")
    Path("needs.py").write_text(NEEDS)  # beside the module `mine`
    Path("exits.py").write_text("import os\nos.write(2, b'no licence')\nos._exit(3)\n")
    assert mine
    return find(str(folder / "bin" / "python"))


def test_it_is_left_out_where_it_cannot_be_loaded(
    there: Interpreter, python314: Interpreter
) -> None:
    both = {"3.14": python314, there.spec: there}
    found = unloadable(["needs:length", "validate", "mine:length"], both, SOURCE)
    assert found.keys() == {("needs:length", "3.14")}
    assert "No module named 'only_there'" in found["needs:length", "3.14"]


def test_the_error_names_the_interpreter_and_repeats_the_options(
    there: Interpreter, tmp_path: Path
) -> None:
    tasks: TaskSource = {
        "kind": "file",
        "path": str(tmp_path / "my tasks.txt"),
        "format": "todotxt",
    }
    with pytest.raises(
        UsageError, match="module needs has no lenght; did you mean length"
    ) as caught:
        unloadable(["needs:lenght"], {there.spec: there}, tasks)
    assert caught.value.place == f"interpreter {there.spec}"
    assert caught.value.remedy.endswith(
        f"todobatch run '{tmp_path}/my tasks.txt' --format todotxt --workload needs:lenght "
        f"--executor sequential --interpreter '{there.spec}'"
    )


def test_a_module_that_is_nowhere_is_refused(python314: Interpreter) -> None:
    with pytest.raises(UsageError, match="No module named 'no'") as caught:
        unloadable(["validate", "no.such:thing"], {"3.14": python314}, SOURCE)
    assert caught.value.place == "interpreter 3.14"


def test_a_module_that_ends_the_process_is_an_error_with_what_it_printed(
    there: Interpreter,
) -> None:
    error = why_not_loaded(there, Cell("exits:f", there.spec, "sequential", 1), SOURCE)
    assert error is not None
    assert "ended with exit code 3: no licence" in error.cause


def test_the_command_has_all_options_of_a_cell() -> None:
    cell = Cell("a b:c", "3.14t", "threads", 4)
    assert run_command(cell, SOURCE, 7) == (
        "todobatch run --generate 100 --seed 5 --workload 'a b:c' --executor threads --workers 4 "
        "--interpreter 3.14t --batch-size 7"
    )


def test_bench_measures_it_there_and_says_where_it_cannot(
    run_todobatch: RunTodobatch, there: Interpreter, tmp_path: Path
) -> None:
    done = run_todobatch(
        *("bench", "--workloads", "needs:length", "--interpreters", f"3.14,{there.spec}"),
        *("--executors", "threads", "--workers", "2", "--blocks", "1", "--batch-size", "5"),
        *("-o", tmp_path / "run"),
        cwd=Path.cwd(),
    )
    assert done.returncode == 0, done.stderr
    assert "asked for, but left out: needs:length on 3.14: needs:length cannot" in done.stderr
    run = load_run(tmp_path / "run")
    assert len({sample.interpreter for sample in run.samples}) == 1
    assert all(sample.void is None for sample in run.samples)
    assert "Left out: needs:length on 3.14: " in done.stdout


def test_versus_loads_it_there(there: Interpreter) -> None:
    a, b = (Cell(name, there.spec, "sequential", 1) for name in ("needs:length", "mine:length"))
    options = {"input_file": None, "input_format": None, "seed": 1, "budget_s": 1.0, "target": 0.5}
    prepared = versus.prepare(a, b, Silent(), limit=None, **options)  # type: ignore[arg-type]
    assert prepared.interpreters.keys() == {there.spec}
    here = Cell("needs:length", "3.14", "sequential", 1)
    with pytest.raises(UsageError, match="No module named 'only_there'") as caught:
        versus.prepare(here, b, Silent(), limit=None, **options)  # type: ignore[arg-type]
    assert caught.value.place == "interpreter 3.14"
