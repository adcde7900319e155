"""The command line as a whole: its help, its imports and its pipes."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import COMMAND, ROOT, RunTodobatch


def test_help_names_every_command(run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("--help")
    assert done.returncode == 0
    for command in ("run", "bench", "show", "report", "interpreters"):
        assert command in done.stdout


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys; from todobatch.cli import app; "
        "heavy = {'numpy', 'pandas', 'scipy', 'pyperf', 'altair', 'asyncio', 'multiprocessing', "
        "'psutil', 'rich.progress'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_the_help_names_every_workload_and_executor(run_todobatch: RunTodobatch) -> None:
    from todobatch.executors import EXECUTORS
    from todobatch.processors import WORKLOADS

    shown = " ".join(run_todobatch("run", "--help", env={"COLUMNS": "200"}).stdout.split())
    shown = shown.replace("- ", "-")  # where a line was broken
    for name in (*WORKLOADS, *EXECUTORS):
        assert name in shown


def test_what_reads_our_output_may_stop_reading(project: Path) -> None:
    command = f'"{COMMAND}" run todo.txt --no-baseline 2>/dev/null | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command], check=True, cwd=project, capture_output=True, text=True
    )
    assert done.stdout.strip() in {"0", "1"}  # 1 where the reader was gone before the first line
