"""`todobatch versus` on the real interpreters: verdicts, and sides that fail."""

import json
import math
from pathlib import Path

import pytest

from tests.conftest import RunTodobatch
from todobatch.errors import MeasurementError, UsageError
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure import side, versus
from todobatch.lab.measure.difference import Block, Difference, beyond
from todobatch.lab.measure.side import Turn
from todobatch.lab.measure.versus import Versus
from todobatch.lab.store.schema import Cell

pytestmark = [pytest.mark.interpreters, pytest.mark.timeout(900)]

SUMS = """
def once(task):
    return sum(n * n for n in range(2000))


def three_times(task):
    for _ in range(2):
        once(task)
    return once(task)


def another(task):
    return sum(n * n for n in range(2001))
"""


@pytest.fixture
def sums(mine: str) -> str:
    del mine  # its folder is the current one, and modules in it are found
    (Path.cwd() / "sums.py").write_text(SUMS)
    return "sums"


def compared(
    a: str,
    b: str,
    interpreters: dict[str, Interpreter],
    *,
    executor: str = "sequential",
    workers: int = 1,
    interpreter: str = "3.14",
    budget_s: float = 120.0,  # a busy machine takes long for the blocks; a quiet one ends early
    blocks: int = 12,
) -> Difference:
    first, second = (Cell(workload, interpreter, executor, workers) for workload in (a, b))
    return Versus(
        first, second, interpreters, {"kind": "generator", "seed": 1}, 1, "2026-11-24",
        budget_s=budget_s, blocks=blocks,
    ).run()  # fmt: skip


@pytest.mark.parametrize("interpreter", ["3.14", "3.14t"])
@pytest.mark.parametrize(
    ("executor", "workers"), [("sequential", 1), ("threads", 2), ("processes", 2)]
)
def test_three_times_the_work_is_slower(
    sums: str,
    interpreters: dict[str, Interpreter],
    interpreter: str,
    executor: str,
    workers: int,
) -> None:
    def measured(a: str, b: str, verdict: str, ratio: float) -> Difference:
        for _ in range(3):  # other programs may take a CPU from two workers for most of a run
            outcome = compared(
                f"{sums}:{a}", f"{sums}:{b}", interpreters,
                executor=executor, workers=workers, interpreter=interpreter,
            )  # fmt: skip
            if outcome.verdict == verdict and 2 / 3 < outcome.ratio.estimate / ratio < 4 / 3:
                break
        return outcome

    outcome = measured("once", "three_times", "slower", 3)
    assert outcome.verdict == "slower"
    assert 2 < outcome.ratio.estimate < 4
    assert outcome.same_output
    assert measured("three_times", "once", "faster", 1 / 3).verdict == "faster"


def test_a_block_keeps_every_turn_and_both_sides_on_one_cpu(
    sums: str, interpreters: dict[str, Interpreter]
) -> None:
    outcome = compared(f"{sums}:once", f"{sums}:once", interpreters, blocks=2)
    assert len(outcome.blocks) == 2
    for block in outcome.blocks:
        assert len(block.a_s) == len(block.b_s) >= versus.LEAST_ROUNDS
        assert block.cpu is not None
        assert block.clock == "cpu"
        assert block.log_ratio == pytest.approx(centre(block), abs=1e-6)


def test_tasks_of_a_second_are_not_run_dozens_of_times(
    mine: str, interpreters: dict[str, Interpreter]
) -> None:
    (Path.cwd() / "slow.py").write_text(
        "import time\n\n\ndef slow(task):\n    time.sleep(0.3)\n    return 0\n"
    )
    side = Cell("slow:slow", "3.14", "sequential", 1)
    asked = Versus(
        side, side, interpreters, {"kind": "generator", "seed": 1}, 1, "2026-11-24", blocks=1,
        budget_s=1.0,
    )  # fmt: skip
    warnings: list[str] = []
    outcome = asked.run(warn=warnings.append)
    assert outcome.tasks == 1
    assert "the budget of 1.00 s is too short" in warnings[0]
    assert len(outcome.blocks[0].a_s) == versus.FEW_ROUNDS
    assert outcome.blocks[0].clock == "wall"
    assert min(outcome.blocks[0].a_s) >= 0.3


@pytest.mark.parametrize(
    ("waited", "one_worker", "clock"),
    [(None, True, "cpu"), (None, False, "wall"), (0, True, "wall"), (1, True, "wall")],
)
def test_cpu_time_is_compared_only_where_no_turn_waited(
    waited: int | None, one_worker: bool, clock: str
) -> None:
    def turn(cpu_s: float | None) -> Turn:
        return Turn(3.0, cpu_s, tasks=1, failed=0, error=None, digest="", gil=True)

    sides = [[turn(1.0), turn(1.5)], [turn(2.0), turn(2.5)]]
    if waited is not None:
        sides[waited][1] = turn(None)
    expected = ([1.0, 1.5], [2.0, 2.5]) if clock == "cpu" else ([3.0, 3.0], [3.0, 3.0])
    assert versus.timed(*sides, one_worker=one_worker) == (clock, *expected)


def centre(block: Block) -> float:
    """Return the Hodges-Lehmann estimate of a block, computed by its definition."""
    logs = [math.log(a / b) for a, b in zip(block.a_s, block.b_s, strict=True)]
    means = sorted((x + y) / 2 for i, x in enumerate(logs) for y in logs[i:])
    half = len(means) // 2
    return means[half] if len(means) % 2 else (means[half - 1] + means[half]) / 2


def test_two_approaches_on_two_interpreters(
    sums: str, interpreters: dict[str, Interpreter]
) -> None:
    a = Cell(f"{sums}:once", "3.14", "sequential", 1)
    b = Cell(f"{sums}:once", "3.14t", "threads", 2)
    outcome = Versus(
        a, b, interpreters, {"kind": "generator", "seed": 1}, 1, "2026-11-24", blocks=2
    ).run()
    assert outcome.same_output
    assert [block.cpu for block in outcome.blocks] == [None, None]


def test_a_side_that_prints_more_than_a_pipe_holds_goes_on(
    mine: str, interpreters: dict[str, Interpreter]
) -> None:
    (Path.cwd() / "loud.py").write_text(
        "import sys\n\n\ndef loud(task):\n    sys.stderr.write('x' * 70_000)\n    return 0\n"
    )
    assert compared("loud:loud", "loud:loud", interpreters, blocks=1).same_output


def test_a_side_clears_up_behind_itself(
    sums: str,
    interpreters: dict[str, Interpreter],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    compared(f"{sums}:once", f"{sums}:once", interpreters, executor="processes", workers=2,
             blocks=1)  # fmt: skip
    assert not list(tmp_path.glob("pymp-*"))


@pytest.mark.parametrize(
    ("slower", "limit", "is_beyond"),
    [(0.015, 0.01, True), (0.005, 0.01, False), (0.08, 0.05, True), (0.03, 0.05, False),
     (-0.10, 0.05, False)],
)  # fmt: skip
def test_a_limit_is_decided_whatever_the_verdict(
    slower: float, limit: float, is_beyond: bool
) -> None:
    logs = [-math.log1p(slower) + 0.0005 * (-1) ** n for n in range(12)]
    assert beyond(logs, limit) is is_beyond
    assert beyond(logs[:1], limit) is None


def test_another_output_is_told(sums: str, interpreters: dict[str, Interpreter]) -> None:
    assert not compared(f"{sums}:once", f"{sums}:another", interpreters, blocks=1).same_output


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("raises", "tasks failed: .*no luck with"),
        ("dies", "its process was killed \\(SIGKILL\\)"),
        ("gives_up_the_process", "ended with exit code 7: the reactor is hot"),
    ],
)
def test_a_side_that_fails_ends_it_with_the_reason(
    mine: str, interpreters: dict[str, Interpreter], function: str, why: str
) -> None:
    with pytest.raises(MeasurementError, match=why) as raised:
        compared(f"{mine}:length", f"{mine}:{function}", interpreters)
    assert f"{mine}:{function}/3.14/sequential/1" in str(raised.value)
    assert "todobatch run" in str(raised.value)


def test_a_side_that_hangs_is_ended(
    mine: str, interpreters: dict[str, Interpreter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side, "TURN_TIMEOUT_S", 1.0)
    with pytest.raises(MeasurementError, match="took longer than 4 s"):
        compared(f"{mine}:hangs", f"{mine}:length", interpreters)


def test_the_command_says_it_in_json_and_gates(sums: str, run_todobatch: RunTodobatch) -> None:
    done = run_todobatch(
        "versus", f"{sums}:once", f"{sums}:three_times", "--format", "json", "--seed", "3",
        "--fail-on-slower", "50%",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "B is slower by more than 50%" in done.stderr
    printed = json.loads(done.stdout)
    assert printed["verdict"] == "slower"
    assert printed["ratio"]["low"] > 1.5
    assert printed["seed"] == 3
    assert printed["a"]["workload"] == f"{sums}:once"
    assert len(printed["blocks"][0]["a_s"]) == len(printed["blocks"][0]["b_s"])


def test_the_command_for_people(sums: str, run_todobatch: RunTodobatch) -> None:
    done = run_todobatch("versus", f"{sums}:once", f"{sums}:another", "--budget", "3")
    assert done.returncode == 0, done.stderr
    verdict, a, b, how, outputs = done.stdout.splitlines()
    assert a == f"A  {sums}:once/3.14/sequential/1"
    assert b == f"B  {sums}:another/3.14/sequential/1"
    assert "Time of B ÷ A: " in verdict
    assert "of two fresh processes" in how
    assert outputs.startswith("Warning: their outputs differ")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--workers", "2,x"], "whole numbers"),
        (["--workers", "0"], "0 is out of range"),
        (["--executors", "a,b,c"], "has 3 values for two sides"),
        (["--executors", "magic"], "magic"),
        (["--budget", "0"], "0.0 s is not a valid budget"),
        (["--target", "x"], "not a percentage"),
        (["--format", "xml"], "--format takes text or json, not 'xml'"),
        (["--input", "missing.txt"], "missing.txt"),
    ],
)
def test_what_makes_no_sense_is_refused(
    sums: str, run_todobatch: RunTodobatch, options: list[str], why: str
) -> None:
    done = run_todobatch("versus", f"{sums}:once", f"{sums}:once", *options)
    assert done.returncode == UsageError.exit_code, done.stdout
    assert why in done.stderr
