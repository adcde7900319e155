"""Of a stranger's run folder nothing is executed but what this machine has anyway."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from tests.tools.made_up import FACTS, SEQ, meta, sample, write_run
from todobatch.errors import InterpreterMissingError, UsageError
from todobatch.lab.interpreters.specs import check_spec
from todobatch.lab.measure import bench
from todobatch.lab.plan.conditions import changes_of
from todobatch.lab.plan.trust import executables, strangers
from todobatch.lab.progress import Silent
from todobatch.lab.store.schema import Cell, RunMeta
from todobatch.lab.store.validity import why_inconsistent


def run_with(*, workload: str = "example8", interpreter: str = "3.14") -> RunMeta:
    cell = Cell(workload, interpreter, "sequential", 1)
    return replace(meta(cells=(cell,)), interpreters={interpreter: FACTS})


@pytest.fixture
def leaves_a_mark(tmp_path: Path) -> Path:
    """A script that shows that it was run."""
    script = tmp_path / "x" / "python"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\necho run >> {tmp_path}/mark\n")
    script.chmod(0o755)
    return script


def test_built_in_workloads_and_versions_need_no_trust() -> None:
    assert strangers(meta().plan, ["3.14"]) == []
    assert executables(Path("run"), meta().plan) == {"3.14": "3.14", "3.14t": "3.14t"}


def test_what_is_neither_built_in_nor_of_this_machine_is_named_escaped(tmp_path: Path) -> None:
    run = run_with(workload="evil.\x1b[2J:run", interpreter="./x/python")
    named = ["workload 'evil.\\x1b[2J:run'", "interpreter './x/python'"]
    assert strangers(run.plan) == named
    with pytest.raises(UsageError) as refused:
        executables(tmp_path, run.plan)
    assert all(each in refused.value.cause for each in named)
    assert refused.value.place == str(tmp_path)
    assert "`trust=True`" in refused.value.remedy
    assert executables(tmp_path, run.plan, trust=True) == {"./x/python": "x/python"}


def test_an_interpreter_of_the_run_without_a_cell_counts_too() -> None:
    assert strangers(meta().plan, ["3.14", "./x/python"]) == ["interpreter './x/python'"]


@pytest.mark.parametrize("name", ["./\0", "~nobody-of-that-name/python", "/", "a/" * 3000])
def test_a_path_that_cannot_be_one_is_a_stranger(name: str) -> None:
    assert len(strangers(run_with(interpreter=name).plan)) == 1


def test_many_long_names_are_named_in_part() -> None:
    cells = tuple(Cell(f"{n}:{'x' * 500}", "3.14", "sequential", 1) for n in range(900))
    with pytest.raises(UsageError, match="and 895 more") as refused:
        executables(Path("run"), meta(cells=cells).plan)
    assert len(refused.value.cause) < 1_000


def test_a_path_of_the_running_interpreter_needs_no_trust() -> None:
    run = run_with(interpreter=sys.executable)
    assert executables(Path("run"), run.plan) == {sys.executable: sys.executable}


def test_a_link_to_an_own_interpreter_is_not_run_itself(tmp_path: Path) -> None:
    """What lies beside a link decides what Python loads, so the interpreter itself is run."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    (tmp_path / "pyvenv.cfg").write_text("home = /nowhere\n")
    chosen = executables(Path("run"), run_with(interpreter=str(link)).plan)[str(link)]
    assert chosen != str(link)
    assert Path(chosen).samefile(sys.executable)


@pytest.mark.parametrize("use", [bench.resume, bench.begin_like])
@pytest.mark.parametrize("what", ["interpreter", "workload"])
def test_bench_executes_nothing_of_a_strangers_folder(
    tmp_path: Path, leaves_a_mark: Path, use: Callable[..., object], what: str
) -> None:
    names = {"interpreter": str(leaves_a_mark), "workload": "evil:run"}
    folder = write_run(tmp_path / "run", run_with(**{what: names[what]}), [])
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=f"would execute {what} '"):
        use(folder, Silent())
    assert not (tmp_path / "mark").exists()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_command_names_what_it_would_execute_and_the_remedy(
    run_todobatch: RunTodobatch, tmp_path: Path, leaves_a_mark: Path
) -> None:
    del leaves_a_mark
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    run = run_with(interpreter="./x/python", workload="evil:run")
    folder = write_run(tmp_path / "run", run, [])
    done = run_todobatch("bench", "--resume", folder, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "would execute workload 'evil:run', interpreter './x/python'" in done.stderr
    assert "add --trust" in done.stderr
    assert not (tmp_path / "mark").exists()


def test_with_trust_it_is_executed(tmp_path: Path, leaves_a_mark: Path) -> None:
    folder = write_run(tmp_path / "run", run_with(interpreter=str(leaves_a_mark)), [])
    with pytest.raises(InterpreterMissingError, match="it is not Python"):
        bench.resume(folder, Silent(), trust=True)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("command", ["show", "report", "compare"])
def test_reading_a_run_executes_nothing(
    run_todobatch: RunTodobatch, tmp_path: Path, leaves_a_mark: Path, command: str
) -> None:
    """Neither its interpreter and workload, nor modules of the folder, which is the current one."""
    cell = Cell("evil:run", "./x/python", "sequential", 1)
    run = run_with(workload=cell.workload, interpreter=cell.interpreter)
    folder = write_run(tmp_path / "run", run, [sample(cell, block=block) for block in range(3)])
    (folder / "x").symlink_to(leaves_a_mark.parent)
    for module in ("evil", "json", "mkdocs", "rich", "scipy", "yaml"):
        (folder / f"{module}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    more = {"show": (), "report": ("-o", str(tmp_path / "site")), "compare": (".",)}[command]
    done = run_todobatch(command, ".", *more, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "mark").exists()


@pytest.mark.interpreters
def test_a_resumed_run_does_not_import_from_the_folder(
    run_todobatch: RunTodobatch, tmp_path: Path, python314: object
) -> None:
    from todobatch.lab.plan.conditions import publishable
    from todobatch.lab.store import machine

    run = replace(
        meta(cells=(SEQ,), blocks=1),
        machine=machine.describe(),
        interpreters={"3.14": publishable(python314)},  # type: ignore[arg-type]
    )
    folder = write_run(tmp_path / "run", run, [])
    for module in ("json", "psutil", "scipy", "yaml", "datetime"):
        (folder / f"{module}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    done = run_todobatch("bench", "--resume", ".", cwd=folder)
    assert json.loads((folder / "run.json").read_text())["resumed"], done.stderr
    assert (folder / "samples.jsonl").read_text(), done.stderr
    assert not (tmp_path / "mark").exists()


def test_the_mode_of_a_strangers_plan_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for mode in ("/../../../escaped", "../x", "a\0b", "x" * 5000):
        folder = bench._new_folder(mode)
        assert folder.parent == Path("results")
        assert "\0" not in folder.name
        assert len(folder.name) < 100


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("null\0byte", "cannot be the name of a file"),
        ("~nobody-of-that-name/tasks.txt", "cannot be read: No such file"),
        ("/dev/zero", "cannot be read: it is not a regular file"),
        ("large", "cannot be read: it is larger than"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(tmp_path: Path, source: str, why: str) -> None:
    if source == "large":
        source = str(tmp_path / source)
        with open(source, "wb") as file:
            file.truncate(10**12)
    (found,) = changes_of({"kind": "file", "path": source, "sha256": "0"})
    assert why in found


def test_a_plan_without_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cell"):
        executables(tmp_path, replace(meta().plan, cells=()))


def test_two_cells_of_one_name_are_refused() -> None:
    """One would hide the other from `compare` and its gates."""
    cells = (Cell("a", "3.14/threads", "x", 1), Cell("a/3.14", "threads", "x", 1))
    shapes = tuple(replace(meta().plan.shapes[0], workload=cell.workload) for cell in cells)
    run = replace(
        meta(),
        plan=replace(meta().plan, cells=cells, shapes=shapes),
        interpreters={cell.interpreter: FACTS for cell in cells},
    )
    assert "another cell has the same name" in str(why_inconsistent(run))


def test_a_version_of_thousands_of_digits_is_no_version() -> None:
    with pytest.raises(UsageError, match="neither a version"):
        check_spec("3." + "1" * 5000)
