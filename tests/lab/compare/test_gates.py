"""A gate fails only for cells whose whole interval is beyond its limit."""

from dataclasses import replace

import pytest

from tests.lab.compare.test_compare import TIMES, compared, slowed, taken
from tests.tools.made_up import FREE, SEQ, SEQ_T, THREADS
from todobatch.errors import UsageError
from todobatch.lab.compare.gates import gate_on_efficiency, gate_on_slower


def test_the_gate_asks_for_the_whole_interval() -> None:
    a = taken({SEQ: 1.0})
    unsteady = [
        replace(each, wall_s=each.wall_s * (1.01 if each.block % 2 else 1.09)) for each in a.samples
    ]
    outcome = compared(a, replace(a, samples=unsteady))
    assert outcome.rows[0].verdict == "slower"
    assert outcome.rows[0].ratio.estimate > 1.04
    assert outcome.rows[0].ratio.low < 1.03
    assert gate_on_slower(outcome, 0.03, "").failed == ()
    assert gate_on_slower(outcome, 0.01, "").failed == (SEQ.key,)


def test_the_efficiency_gate_asks_for_the_whole_interval_too() -> None:
    a = taken({SEQ_T: 1.0, FREE: 0.5})
    unsteady = [
        replace(each, wall_s=each.wall_s * (1.01 if each.block % 2 else 1.09))
        if each.cell == FREE
        else each
        for each in a.samples
    ]
    outcome = compared(a, replace(a, samples=unsteady))
    assert outcome.efficiency[0].verdict == "slower"
    assert outcome.efficiency[0].ratio.estimate < 0.96
    assert gate_on_efficiency(outcome, 0.03, None, "").failed == ()
    assert gate_on_efficiency(outcome, 0.01, None, "").failed == (FREE.key,)


def test_a_gate_does_not_fail_for_what_is_not_sure_among_so_many() -> None:
    outcome = compared(taken(), slowed(taken(), FREE, 1.10))
    doubtful = replace(
        outcome,
        rows=tuple(replace(row, verdict="inconclusive") for row in outcome.rows),
        efficiency=tuple(replace(row, verdict="inconclusive") for row in outcome.efficiency),
    )
    assert gate_on_slower(outcome, 0.03, "").failed == (FREE.key,)
    assert gate_on_slower(doubtful, 0.03, "").failed == ()
    assert gate_on_slower(doubtful, 0.03, "").undecided == 5
    assert gate_on_efficiency(doubtful, 0.03, None, "").failed == ()


def test_a_faster_run_passes_every_gate() -> None:
    run = taken()
    outcome = compared(run, slowed(run, FREE, 0.5))
    assert gate_on_slower(outcome, 0.0, "").failed == ()
    assert gate_on_efficiency(outcome, 0.0, None, "").failed == ()


@pytest.mark.parametrize("day", [5, 6])
def test_a_fall_in_efficiency_is_found_whatever_the_machine_did(day: int) -> None:
    times = {**TIMES, FREE: 0.55 * 1.10}
    outcome = compared(taken(), taken(times, day=day, slowness=1.3))
    (found,) = [row for row in outcome.efficiency if row.verdict == "slower"]
    assert found.cell == FREE
    assert found.ratio.estimate == pytest.approx(1 / 1.10, abs=0.01)
    assert gate_on_efficiency(outcome, 0.03, 2, "").failed == (FREE.key,)
    assert gate_on_efficiency(outcome, 0.03, None, "").failed == (FREE.key,)
    assert gate_on_efficiency(outcome, 0.03, 4, "").failed == ()


def test_a_gate_that_has_nothing_to_look_at_is_refused() -> None:
    outcome = compared(taken(), taken())
    with pytest.raises(UsageError, match="no cell with 16 workers"):
        gate_on_efficiency(outcome, 0.03, 16, "")
    alone = compared(taken({THREADS: 1.0}), taken({THREADS: 1.0}))
    with pytest.raises(UsageError, match="no cell with several workers has a sequential run"):
        gate_on_efficiency(alone, 0.03, None, "")
