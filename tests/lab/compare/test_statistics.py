"""Two groups of times are compared by the right test, without drift where possible."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy import stats

from tests.lab.compare.test_compare import (
    TIMES,
    WAITS,
    compared,
    row_of,
    significant,
    slowed,
    taken,
)
from tests.tools.made_up import FREE, SEQ, THREADS
from todobatch.cli.views.compare import as_json, as_text
from todobatch.lab.compare.contrasts import Paired, Unpaired, verdicts_of
from todobatch.lab.compare.gates import gate_on_slower
from todobatch.lab.stats.estimate import geometric_mean
from todobatch.lab.store.schema import Estimate


def test_welch_is_what_scipy_computes() -> None:
    a, b = (0.0, 0.1, 0.05, 0.2), (0.3, 0.1, 0.4, 0.35, 0.9)
    known = stats.ttest_ind(b, a, equal_var=False)
    interval = known.confidence_interval(0.95)
    ours = Unpaired(a, b)
    assert ours.p_value() == pytest.approx(known.pvalue)
    ratio = ours.ratio()
    assert (math.log(ratio.low), math.log(ratio.high)) == pytest.approx(
        (interval.low, interval.high)
    )


def test_groups_without_spread_are_compared_exactly() -> None:
    same, apart = Unpaired((1.0, 1.0), (1.0, 1.0)), Unpaired((1.0, 1.0), (2.0, 2.0))
    assert (same.p_value(), apart.p_value()) == (1.0, 0.0)
    assert apart.ratio() == Estimate(math.e, math.e, math.e)


def test_two_samples_at_a_strict_level_leave_the_ratio_anywhere() -> None:
    for contrast in (Paired((0.0, 2.0)), Unpaired((0.0, 2.0), (0.0, 0.0))):
        strict = contrast.ratio(1 - 1e-5)
        assert (strict.low, strict.high) == (0.0, math.inf)
        assert verdicts_of({str(n): contrast for n in range(5000)})["0"] == "inconclusive"


def test_pairs_use_the_t_interval_of_the_lab() -> None:
    logs = (0.1, 0.2, 0.15)
    assert Paired(logs).ratio(0.9) == geometric_mean(logs, 0.9)


def test_blocks_of_the_same_time_are_paired_so_that_drift_is_in_neither() -> None:
    run = taken()
    outcome = compared(run, slowed(run, THREADS, 1.03))
    assert significant(outcome) == {THREADS.key}
    assert row_of(outcome, THREADS).method == "paired"
    assert row_of(outcome, THREADS).pairs == 8


def test_interleaved_runs_are_paired_and_runs_of_two_days_are_not() -> None:
    run = taken()
    soon = [replace(s, started=s.started.replace(":00.000", ":50.000")) for s in run.samples]
    assert row_of(compared(run, replace(run, samples=soon)), SEQ).method == "paired"
    row = row_of(compared(run, taken(day=6)), SEQ)
    assert (row.method, row.pairs, row.samples) == ("welch", None, (8, 8))


def test_a_date_that_cannot_be_read_makes_no_pair() -> None:
    run = taken()
    undated = replace(run, samples=[replace(each, started="?") for each in run.samples])
    assert row_of(compared(run, undated), SEQ).method == "welch"


def test_control_loads_remove_the_drift_between_two_runs() -> None:
    times = {**TIMES, WAITS: 0.5}
    new = {**times, FREE: 0.55 * 1.10}
    calm, slow = taken(times, controls=True), taken(new, day=9, slowness=1.5, controls=True)
    outcome = compared(calm, slow)
    assert significant(outcome) == {FREE.key}
    assert row_of(outcome, FREE).ratio.estimate == pytest.approx(1.10, abs=0.01)
    assert row_of(outcome, FREE).method == "welch with controls"
    assert row_of(outcome, WAITS).method == "welch"  # it waits, whatever the CPU's speed
    without = compared(calm, replace(slow, controls=()))
    assert {SEQ.key, FREE.key} <= significant(without)
    assert {row.method for row in without.rows} == {"welch"}
    assert "the machine's drift is not removed" in as_text(without)


def test_a_block_without_its_control_load_is_not_guessed() -> None:
    a, b = taken(controls=True), taken(day=9, controls=True)
    lacking = replace(b, controls=tuple(each for each in b.controls if each.block != 3))
    assert row_of(compared(a, lacking), SEQ).method == "welch"


@pytest.mark.parametrize("day", [5, 6])
def test_one_block_is_inconclusive(day: int) -> None:
    times = {cell: 2 * wall for cell, wall in TIMES.items()}
    outcome = compared(taken(blocks=1), taken(times, day=day, blocks=1))
    assert {row.verdict for row in outcome.rows} == {"inconclusive"}
    assert "measure more blocks" in as_text(outcome)
    assert json.loads(as_json(outcome))["rows"][0]["ratio"]["low"] is None
    assert gate_on_slower(outcome, 0.03, "--fail-on-slower 3%").failed == ()


def test_among_many_comparisons_one_has_to_be_clearer() -> None:
    doubtful = Paired((0.02, 0.12, 0.07, 0.01, 0.09))
    assert doubtful.p_value() < 0.05
    others = {str(n): Paired((0.1, -0.1, 0.05, -0.04)) for n in range(20)}
    assert verdicts_of({"it": doubtful})["it"] == "faster"
    assert verdicts_of({"it": doubtful, **others})["it"] == "inconclusive"


def test_equal_runs_raise_a_false_alarm_about_as_rarely_as_promised() -> None:
    chance = random.Random(1)

    def logs() -> tuple[float, ...]:
        return tuple(chance.gauss(0, 0.02) for _ in range(8))

    def alarm(make: Callable[[], Paired | Unpaired]) -> bool:
        verdicts = verdicts_of({str(cell): make() for cell in range(10)})
        return bool({"faster", "slower"} & set(verdicts.values()))

    # 5 % of 200 are 10; more than 20 come by chance once in a thousand.
    assert sum(alarm(lambda: Paired(logs())) for _ in range(200)) <= 20
    assert sum(alarm(lambda: Unpaired(logs(), logs())) for _ in range(200)) <= 20


def test_rows_come_by_the_size_of_their_effect() -> None:
    run = taken()
    outcome = compared(run, slowed(slowed(slowed(run, SEQ, 1.2), FREE, 0.5), THREADS, 1.05))
    assert [row.cell for row in outcome.rows[:3]] == [FREE, SEQ, THREADS]
    assert [row.verdict for row in outcome.rows[:3]] == ["faster", "slower", "slower"]
