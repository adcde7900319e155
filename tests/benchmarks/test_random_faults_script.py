"""Damaged jobs finish with each task once; ``python -m benchmarks.random_faults`` tries 1,000."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

CASES = 25


@pytest.mark.controller
@pytest.mark.interpreters
@pytest.mark.timeout(900)
def test_a_damaged_job_is_resumed_and_has_each_task_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.random_faults", "--cases", str(CASES)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| all | both | {CASES} |" in done.stdout
