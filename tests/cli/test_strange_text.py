"""No command lets text from a run, a file or an argument act on the terminal."""

import ast
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.conftest import ROOT, Done, RunTodobatch
from tests.tools import hostile, made_up
from todobatch.cli.views import console, drill
from todobatch.lab.drill.rows import Drill, Row
from todobatch.units import show_text

TITLE, BIDI, C1 = "\x1b]0;owned\x07", "\u202egnp.exe", "\x9b2J"
STRANGE = f"{TITLE}{BIDI}{C1}\u200b\u2028"
ESCAPED = r"\x1b]0;owned\x07\u202egnp.exe\x9b2J\u200b\u2028"


def unseen(text: str) -> set[str]:
    """What a terminal would obey, or nobody would see."""
    return {each for each in text if not (each.isprintable() or each == "\n")}


def check(done: Done, code: int, *expected: str) -> None:
    assert done.returncode == code, done.stderr
    assert unseen(done.stdout + done.stderr) == set()
    for text in expected:
        assert text in done.stdout + done.stderr


@pytest.fixture(scope="module")
def strange_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write_run(tmp_path_factory.mktemp("strange") / STRANGE, *hostile.run())


@pytest.fixture(scope="module")
def strange_name(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain run with one strange workload, so that it can be compared with itself."""
    meta = made_up.full_meta(blocks=3, workloads=("example8",), workers=(2,))
    samples = [replace(s, workload=STRANGE) for s in made_up.full_samples(meta)]
    plan = replace(
        meta.plan,
        cells=tuple(replace(cell, workload=STRANGE) for cell in meta.plan.cells),
        shapes=(replace(meta.plan.shapes[0], workload=STRANGE),),
    )
    folder = tmp_path_factory.mktemp("strange") / "run"
    return made_up.write_run(folder, replace(meta, plan=plan, machine=meta.machine), samples)


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_show(run_todobatch: RunTodobatch, strange_run: Path, option: tuple[str, ...]) -> None:
    check(run_todobatch("show", strange_run, *option), 0)


def test_show_tells_of_a_workload_that_is_not_there(
    run_todobatch: RunTodobatch, strange_run: Path
) -> None:
    check(run_todobatch("show", strange_run, "--workload", STRANGE), 2, "onmouseover")


@pytest.mark.parametrize("shape", ["text", "markdown", "json"])
def test_compare(run_todobatch: RunTodobatch, strange_name: Path, shape: str) -> None:
    done = run_todobatch("compare", strange_name, strange_name, "--all", "--format", shape)
    check(done, 0)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", f"/none/{STRANGE}"), 6),
        (("report", f"/none/{STRANGE}"), 6),
        (("compare", f"/none/{STRANGE}", "/none"), 6),
        (("run", f"/none/{STRANGE}.txt"), 2),
        (("run", "--generate", "1", "--executor", STRANGE), 2),
        (("run", "--generate", "1", "--workload", STRANGE), 2),
        (("run", "--generate", "1", "--interpreter", f"/none/{STRANGE}"), 4),
        (("run", "--generate", STRANGE), 2),
        (("run", f"--{STRANGE}"), 2),
        (("versus", STRANGE, "validate"), 2),
        (("bench", "--workloads", STRANGE), 2),
        (("bench", "--interpreters", f"/none/{STRANGE}", "--workloads", "validate"), 4),
        (("bench", "--resume", f"/none/{STRANGE}"), 6),
        (("drill", "--executors", STRANGE), 2),
        (("doctor", "--seconds", STRANGE), 2),
        (("interpreters", "install", STRANGE), 2),
        ((STRANGE,), 2),
    ],
    ids=lambda value: (
        " ".join(value).replace(STRANGE, "STRANGE") if isinstance(value, tuple) else ""
    ),
)
def test_errors(run_todobatch: RunTodobatch, arguments: tuple[str, ...], code: int) -> None:
    check(run_todobatch(*arguments), code)


@pytest.mark.interpreters
def test_run(run_todobatch: RunTodobatch, project: Path) -> None:
    titles = (f"{kind} {BIDI}\u200b" for kind in ("a", "boom", "b", "c"))
    records = [json.dumps({"title": title}) for title in titles]
    (project / "tasks.jsonl").write_text("\n".join([*records, f"not JSON {STRANGE}", ""]), "utf-8")
    (project / "mine.py").write_text(
        "def shout(task):\n"
        '    if "boom" in task.title:\n'
        f"        raise RuntimeError({STRANGE!r})\n",
        "utf-8",
    )
    job = ("run", "tasks.jsonl", "--workload", "mine:shout", "--interpreter", "3.14")
    check(run_todobatch(*job, cwd=project), 1, "failed task", ESCAPED.removesuffix(r"\u2028"))
    done = run_todobatch(*job, "--json", cwd=project)
    check(done, 1)
    assert TITLE in json.loads(done.stdout)["failures"][0]["error"]


def test_interpreters(run_todobatch: RunTodobatch, tmp_path: Path) -> None:
    folder = tmp_path / STRANGE
    folder.mkdir()
    broken = folder / "python3.14"
    broken.write_text(f"#!/bin/sh\necho '{STRANGE}' >&2; echo '{STRANGE}'; exit 1\n")
    broken.chmod(0o755)
    env = {"PATH": f"{folder}:{os.environ['PATH']}"}
    check(run_todobatch("interpreters", env=env), 0, ESCAPED)
    check(run_todobatch("interpreters", "--json", env=env), 0)


def drawn(draw: Any) -> str:
    screen = io.StringIO()
    draw(Console(file=screen, width=200, markup=False))
    return screen.getvalue()


def test_a_drill() -> None:
    row = Row(STRANGE, "poison", True, False, 9, 8, 1, 1, 0, 0.1, 0.2, "finished", note=STRANGE)
    found = Drill("3.14", STRANGE, True, 2, 2, 3, 1.0, 2, 9, 1.0, (row,))
    text = drawn(lambda screen: drill.show(found, screen))
    assert unseen(text) == set()
    assert ESCAPED in text


def test_a_cell_of_a_table_stays_on_its_line_and_its_title_too() -> None:
    table = console.table(("name", "n"), title="a\nb\x1b")
    table.add_row("a\nb\x9b[bold]", "1")
    lines = drawn(lambda screen: screen.print(table)).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words == [r"a\nb\x1b", "name n", r"a\nb\x9b[bold] 1"]


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Display() as display:
        display.message(STRANGE)
        display.step(STRANGE, 1, 2, STRANGE)
    assert unseen(capsys.readouterr().err) == set()


def test_a_line_of_the_doctor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from todobatch.cli.doctor import doctor
    from todobatch.lab.doctor import diagnosis
    from todobatch.lab.doctor.checks import Finding

    about = {"cpus_available": 2, "cpu_model": STRANGE, "os": STRANGE, "kernel": STRANGE}
    finding = Finding(f"load {STRANGE}", "warning", STRANGE, STRANGE, STRANGE)
    found = diagnosis.Diagnosis(about, (finding,), None)
    monkeypatch.setattr(diagnosis, "diagnose", lambda *_, **__: found)
    doctor(seconds=1.0, no_measure=True, as_json=False, strict=False)
    shown = capsys.readouterr().out
    assert unseen(shown) == set()
    assert show_text(TITLE) in shown


def test_nothing_else_prints() -> None:
    allowed = {"cli/__init__.py", "cli/shared/echo.py", "cli/doctor.py"}
    package = ROOT / "todobatch"
    found = {
        str(path.relative_to(package))
        for path in (package / "cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "typer.echo"}
    }
    assert found == allowed
