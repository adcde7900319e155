"""If the GIL comes back on, the samples are void, say why, and change no verdict."""

import subprocess
from pathlib import Path

import pytest

from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure import schedule
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.plan.cells import Choice
from todobatch.lab.progress import Silent
from todobatch.lab.stats.verdict import summarise, winners
from todobatch.lab.store.folder import load_run
from todobatch.lab.store.schema import Cell, Sample, WorkloadShape

pytestmark = pytest.mark.interpreters

# Its workers are started after it was imported, and inherit what it did to the environment.
INTO_WORKERS = """
import os

os.environ["PYTHON_GIL"] = "1"


def length(task):
    return len(task.title)
"""
# An extension that does not say that it works without a GIL, as most of them did in 2024.
EXTENSION = """
#include <Python.h>

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "oldfashioned", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_oldfashioned(void) { return PyModule_Create(&module); }
"""
IN_A_TASK = """
def length(task):
    import oldfashioned

    return len(task.title)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of workloads that every process of the test can import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def oldfashioned(modules: Path, python314t: Interpreter) -> str:
    """Return a workload that imports a real extension, built for free-threaded Python."""
    where = (
        "import sysconfig as s; print(s.get_path('include')); print(s.get_config_var('EXT_SUFFIX'))"
    )
    asked = subprocess.run(
        [str(python314t.executable), "-c", where], check=True, capture_output=True, text=True
    )
    include, suffix = asked.stdout.split()
    (modules / "oldfashioned.c").write_text(EXTENSION)
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-I{include}", "oldfashioned.c", "-o", f"oldfashioned{suffix}"],
        check=True,
        cwd=modules,
    )
    (modules / "imports_it.py").write_text(IN_A_TASK)
    return "imports_it:length"


def take(interpreter: Interpreter, workload: str, executor: str) -> Sample:
    sampler = Sampler(
        {"3.14t": interpreter}, {"kind": "generator", "seed": 5}, "2026-11-24", timeout_s=60.0
    )
    cell = Cell(workload, "3.14t", executor, 2)
    return sampler.take(Slot(0, 0, cell), WorkloadShape(workload, 8, 20), number=0)


def test_a_gil_smuggled_into_the_workers_alone_is_seen_in_them(
    modules: Path, python314t: Interpreter
) -> None:
    (modules / "smuggles.py").write_text(INTO_WORKERS)
    assert take(python314t, "smuggles:length", "threads").void is None  # it is too late for these
    sample = take(python314t, "smuggles:length", "processes")
    assert sample.void is not None
    assert sample.void.startswith("the GIL was on in a free-threaded interpreter (worker process-")


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_an_extension_that_turns_the_gil_back_on_makes_the_sample_void(
    oldfashioned: str, python314t: Interpreter, executor: str
) -> None:
    sample = take(python314t, oldfashioned, executor)
    assert sample.void is not None
    assert "the GIL was on in a free-threaded interpreter (worker " in sample.void
    assert sample.gil_enabled


def test_the_verdict_is_about_the_samples_that_are_left(
    modules: Path, python314t: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from todobatch.lab.measure import bench

    (modules / "smuggles.py").write_text(INTO_WORKERS)
    monkeypatch.setenv("PYTHON_GIL", "0")  # what the import below changes is put back
    choice = Choice(
        workloads=("smuggles:length",),
        executors=("threads", "processes"),
        workers=(2,),
        interpreters=(str(python314t.executable),),
        blocks=2,
        seed=1,
        batch_size=5,
    )
    run = bench.begin(choice, Silent(), output=modules / "run")
    voids = [each for each in run.samples if each.void]
    assert len(voids) == schedule.ATTEMPTS
    assert {each.executor for each in voids} == {"processes"}
    assert {each.cell.executor for each in summarise(run)} == {"sequential", "threads"}
    (winner,) = winners(run)
    assert winner.best.cell.executor != "processes"
    assert load_run(modules / "run").samples == run.samples
