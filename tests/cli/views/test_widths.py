"""Tables fit into narrow terminals: columns are left out, and no cell breaks or is drawn beyond."""

import fcntl
import io
import math
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from tests.conftest import COMMAND
from tests.lab.doctor.machines import QUIET, python
from tests.tools.made_up import full_meta, full_samples, write_run
from todobatch.child.faults import FAULTS
from todobatch.cli.shared.log import Log
from todobatch.cli.views import compare as compare_view
from todobatch.cli.views import console, drill, interpreters, show, versus
from todobatch.cli.views import doctor as doctor_view
from todobatch.cli.views.run import RunView
from todobatch.cli.views.tables import Table, wrapped
from todobatch.coordinator.options import Recovery
from todobatch.job.spec import Job
from todobatch.lab.compare.compare import compare
from todobatch.lab.compare.inputs import measurements_of_run
from todobatch.lab.doctor import checks, diagnosis, noise
from todobatch.lab.doctor.noise import Pair
from todobatch.lab.drill.rows import Drill, Row
from todobatch.lab.interpreters import Survey
from todobatch.lab.measure.difference import Block, Difference
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Estimate

WIDTHS = (80, 72, 60, 40)
View = Callable[[int], list[str]]


@pytest.fixture(scope="module")
def run() -> Run:
    """Return a run of two blocks, so that its intervals are wide."""
    meta = full_meta(blocks=2, mode="quick")
    return Run(meta, full_samples(meta, noise=0.3))


def drawn(draw: Callable[[Console], object], width: int) -> list[str]:
    screen = io.StringIO()
    draw(Console(file=screen, width=width, markup=False, highlight=False, emoji=False))
    return screen.getvalue().splitlines()


def lines_of_show(run: Run, width: int) -> list[str]:
    lines = drawn(lambda screen: show.show(run, screen=screen), width)
    # In a file, lines of text stay whole; tables end at an empty line.
    return [line for line in lines if " MB" in line or line.startswith(("approach", "sequential"))]


def lines_of_compare(run: Run, width: int) -> list[str]:
    found = compare(measurements_of_run(run), measurements_of_run(run), force=True)
    return compare_view.as_text(found, unfold=True, width=width).splitlines()


def lines_of_drill(width: int) -> list[str]:
    rows = [
        Row("ProcessPoolExecutor", max(FAULTS, key=len), True, True, 1000, 998, 1, 1, 0, 0.1,
            0.2, "finished"),
        Row("processes", "sys-exit", True, False, 1000, 999, 1, 0, 0, 0.1, 0.2, "finished"),
    ]  # fmt: skip
    found = Drill("3.14", "3.14.7", True, 2, 2, 3, 1.0, 2, 1000, 1.0, tuple(rows))
    lines = drawn(lambda screen: drill.show(found, screen), width)
    return [line for line in lines if line.startswith(("executor", "processes  ", "ProcessPool"))]


def lines_of_doctor(width: int) -> list[str]:
    pairs = [Pair(0.30, 0.36, 1.0), Pair(0.31, 0.28, 1.0), Pair(0.29, 0.36, 1.0)]
    found = noise.summarise(pairs, "3.14")
    assert found is not None
    machine = {"cpus_available": 2, "cpu_model": "Made-up CPU of a long name", "os": "Linux 6.1",
               "kernel": "6.1.0-18-cloud-amd64"}  # fmt: skip
    findings = (*checks.examine(QUIET), noise.check(found))
    return doctor_view.as_lines(diagnosis.Diagnosis(machine, findings, found), width)


def lines_of_versus(width: int) -> list[str]:
    block = Block(0.1, (0.004, 0.005), (0.004, 0.005), "cpu", 1, same_output=True, took_s=1.0)
    a = Cell("package.module:function", "3.14t", "processes", 4)
    found = Difference(
        a, a, 400, 2**32 - 1, (block,), Estimate(1.1, math.nan, math.nan), "inconclusive", None, 9.1
    )
    return wrapped(versus.lines(found), width)


def lines_of_interpreters(width: int) -> list[str]:
    return interpreters.lines(Survey([python("3.14"), python("3.14t")], [], []), width)


def lines_of_run(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    screen = io.StringIO()
    monkeypatch.setattr(console, "output", lambda **_: Console(file=screen, width=width))
    job = Job(generate=100, recovery=Recovery())
    view = RunView(job, python("3.14"), Log("run"))
    workers = [f"MainProcess-worker-{n}" for n in range(3)]
    totals = [
        {"worker": name, "batches": 1000, "tasks": 100_000, "busy_s": 1.5, "cpus": range(24)}
        for name in workers
    ]
    stats = [
        {"worker": name, "busy_s": 1.5, "idle_s": 0.1, "parked_s": 0.2, "parkings": 2, "steals": 99,
         "efficiency": 0.5}
        for name in workers
    ]  # fmt: skip
    view._workers({"worker_totals": totals, "worker_stats": stats})
    return screen.getvalue().splitlines()


@pytest.fixture
def views(run: Run, monkeypatch: pytest.MonkeyPatch) -> dict[str, View]:
    return {
        "show, bench": lambda width: lines_of_show(run, width),
        "compare": lambda width: lines_of_compare(run, width),
        "drill": lines_of_drill,
        "doctor": lines_of_doctor,
        "versus": lines_of_versus,
        "interpreters": lines_of_interpreters,
        "run": lambda width: lines_of_run(monkeypatch, width),
    }


@pytest.mark.parametrize("width", WIDTHS)
def test_no_view_draws_beyond_the_terminal(views: dict[str, View], width: int) -> None:
    for name, lines in views.items():
        found = lines(width)
        assert found, name
        assert [line for line in found if cell_len(line) > width] == [], name


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_keeps_what_matters_most(run: Run, width: int) -> None:
    table = "\n".join(lines_of_show(run, width))
    heading, first, *_ = table.splitlines()
    assert heading.split()[:4] == ["approach", "Py", "n", "time"]
    assert "speed-up" in heading
    assert first.split()[0] == "sequential"
    assert "…" not in table
    assert ("95" in heading) == (width >= 60)


def test_columns_are_left_out_in_order_and_named() -> None:
    table = Table(("name", "time", "memory", "runs"), drop=("memory", "runs"))
    table.add_row("threads", "1.20 s", "23 MB", "3+1 void")
    assert table.lines(80)[1] == "threads  1.20 s   23 MB  3+1 void"
    assert table.lines(32) == [
        "name       time      runs",
        "threads  1.20 s  3+1 void",
        "Columns left out: memory",
    ]
    assert table.lines(20)[:2] == ["name       time", "threads  1.20 s"]


def test_a_long_column_is_cut_in_its_middle_before_others_are_left_out() -> None:
    table = Table(("spec", "from", "path"), left=3, drop=("from",), long="path")
    table.add_row("3.14", "cache", "~/.cache/todobatch/interpreters/bin/python3.14")
    assert table.lines(50)[1] == "3.14  cache  ~/.cache/todobatch…ers/bin/python3.14"
    assert table.lines(36)[1] == "3.14  ~/.cache/todoba…bin/python3.14"


def test_wide_characters_count_twice() -> None:
    table = Table(("name", "n"))
    table.add_row("表" * 20, 1)
    assert max(map(cell_len, table.lines(30))) <= 30


def test_output_that_is_not_a_terminal_is_whole(run: Run, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", run.meta, run.samples)
    done = subprocess.run(
        [COMMAND, "show", folder], capture_output=True, text=True, check=True, timeout=60
    )
    assert "cold speed-up" in done.stdout
    assert "Columns left out" not in done.stdout


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_gets_no_line_that_is_wider(run: Run, tmp_path: Path, width: int) -> None:
    folder = write_run(tmp_path / "run", run.meta, run.samples)
    shown = in_terminal([str(COMMAND), "show", str(folder)], width)
    assert "speed-up" in shown
    assert [line for line in shown.splitlines() if cell_len(line) > width] == []


def in_terminal(command: list[str], width: int) -> str:
    """Run a command on a terminal of this width, and return what it printed, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    env: dict[str, Any] = {**os.environ, "TERM": "xterm"}
    env.pop("COLUMNS", None)
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        printed = b""
        while True:
            try:
                more = os.read(ours, 65_536)
            except OSError:  # Linux: the other end is closed
                break
            if not more:
                break
            printed += more
    os.close(ours)
    assert process.returncode == 0, printed.decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).replace("\r\n", "\n")
