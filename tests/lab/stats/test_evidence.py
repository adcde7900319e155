"""E-values match known values and keep their error rates, and so does the script."""

import math
import random

import numpy as np
import pytest

from benchmarks.peers import coverage
from todobatch.lab.plan.cells import TARGET
from todobatch.lab.stats import evidence

CLEAR = [0.70, 0.68, 0.71, 0.69, 0.72]
EVEN = [0.03, -0.02, 0.01, -0.03, 0.02, -0.01, 0.02, -0.02]


def test_without_blocks_and_with_one_nothing_is_known() -> None:
    assert evidence.p_value([]) == 1
    assert evidence.p_value([5.0]) == 1
    assert evidence.verdict([], 0.05) == "inconclusive"
    assert evidence.verdict([5.0], 0.05) == "inconclusive"


def test_the_bet_on_size_is_the_bayes_factor_of_a_t_test() -> None:
    # Gönen et al. (2005): (1+ng)^-1/2 [(1 + t²/v) ÷ (1 + t²/(v(1+ng)))]^((v+1)/2), v = n - 1.
    values = np.array([0.3, 0.1, 0.2, 0.25])
    n, g = 4, 10.0
    t2 = n * values.mean() ** 2 / values.var(ddof=1)
    ratio = (1 + t2 / 3) / (1 + t2 / (3 * (1 + n * g)))
    factor = (1 + n * g) ** -0.5 * ratio ** (n / 2)
    assert evidence._sizes(values, g)[-1] == pytest.approx(math.log(factor))


def test_the_bet_on_signs_is_fair_whatever_the_sizes_are() -> None:
    # Over all signs of four sizes the mean wealth is 1: what Ville's inequality starts from.
    sizes = [0.02, 0.3, 0.01, 0.05]
    wealth = [
        math.exp(evidence._signs(np.array([s * (-1) ** (n >> k) for k, s in enumerate(sizes)]))[-1])
        for n in range(16)
    ]
    assert sum(wealth) / 16 == pytest.approx(1.0)


def test_evidence_after_a_block_does_not_know_what_comes_later() -> None:
    whole = evidence.evidence(EVEN)
    assert whole[:5] == pytest.approx(evidence.evidence(EVEN[:5]))


def test_a_p_value_never_rises_as_blocks_come_in() -> None:
    values = [evidence.p_value(EVEN[:n]) for n in range(len(EVEN) + 1)]
    assert values == sorted(values, reverse=True)


def test_a_clear_difference_is_found_with_its_direction_after_a_few_blocks() -> None:
    assert evidence.verdict(CLEAR, 0.05) == "faster"
    assert evidence.verdict([-each for each in CLEAR], 0.05) == "slower"
    assert evidence.verdict(CLEAR, 0.05 / 27) == "faster"  # as one of 27 comparisons, too


def test_an_even_race_is_not_decided() -> None:
    assert evidence.verdict(EVEN, 0.05) == "inconclusive"


def test_a_difference_that_is_real_and_small_is_equivalent() -> None:
    assert evidence.verdict([0.005 + each / 50 for each in EVEN], 0.05) == "equivalent"


def test_a_difference_of_the_margin_is_not_equivalent() -> None:
    logs = [math.log(1.02) + each / 50 for each in EVEN]
    assert evidence.verdict(logs, 0.05) != "equivalent"


def test_the_same_log_ratio_in_each_block_is_no_error() -> None:
    assert evidence.verdict([0.5] * 6, 0.05) == "faster"
    assert evidence.verdict([0.0] * 8, 0.05) == "equivalent"
    assert evidence.p_value([0.0] * 6) == 1


def test_one_wild_block_does_not_hide_what_the_others_agree_on() -> None:
    logs = [0.05 + each / 5 for each in EVEN * 2]
    assert evidence.verdict(logs, 0.05) == "faster"
    assert evidence.verdict([*logs[:8], -0.9, *logs[8:]], 0.05) == "faster"


def test_precise_needs_six_blocks_and_a_narrow_interval() -> None:
    narrow = [each / 10 for each in EVEN]
    assert not evidence.precise(narrow[:5], 0.02)
    assert evidence.precise(narrow[:6], 0.02)
    assert not evidence.precise([each * 10 for each in EVEN], 0.02)


def test_a_close_decision_is_confirmed_by_two_more_blocks_and_a_clear_one_is_not() -> None:
    close = [0.05 + each / 5 for each in EVEN * 2]
    decided = next(n for n in range(20) if evidence.verdict(close[:n], 0.05) != "inconclusive")
    settled = next(n for n in range(20) if evidence.settled(close[:n], 0.05, 0.001))
    assert settled == decided + evidence.CONFIRMING
    decided = next(n for n in range(9) if evidence.verdict(CLEAR[:n], 0.05) != "inconclusive")
    assert evidence.settled(CLEAR[:decided], 0.05, 0.001)


# The script -----------------------------------------------------------------------------------


def test_the_script_stops_where_asking_after_every_block_would() -> None:
    lot = np.random.default_rng(3)
    for effect in coverage.EFFECTS:
        for logs in coverage.samples(coverage.MACHINES[2], effect, 10, lot):
            verdict, blocks = coverage.settled(logs)
            asked = [evidence.settled(logs[:n], coverage.LEVEL, TARGET) for n in range(41)]
            assert (asked.index(True) if any(asked) else 40) == blocks
            assert evidence.verdict(logs[:blocks], coverage.LEVEL) == verdict


def test_the_script_reports_a_broken_promise() -> None:
    good = coverage.Outcome(
        blocks=8, verdict="inconclusive", covered=True, fixed_covered=True, naive_alarm=False
    )
    bad = coverage.Outcome(
        blocks=8, verdict="faster", covered=False, fixed_covered=True, naive_alarm=True
    )
    assert coverage.Row("m", 0.0, [good] * 95 + [bad] * 5).broken() is None
    assert coverage.Row("m", 0.0, [good] * 80 + [bad] * 20).broken() == "false alarms"
    assert coverage.Row("m", 0.05, [good] * 80 + [bad] * 20).broken() == "coverage"


def test_false_alarms_stay_rare_where_somebody_looks_after_every_block() -> None:
    lot = np.random.default_rng(5)
    runs = list(coverage.samples(coverage.MACHINES[2], 0.0, 300, lot))
    alarms = sum(coverage.settled(logs)[0] in {"faster", "slower"} for logs in runs)
    peeking = sum(coverage._peeking(logs) for logs in runs)
    assert alarms <= 15  # 5 %
    assert peeking > alarms  # a t test that is looked at in the same way


def test_the_lot_alone_makes_the_bet_on_signs_fair() -> None:
    # A machine that gets slower from sample to sample would always favour whoever comes first.
    lot = random.Random(7)
    alarms = 0
    for _ in range(400):
        logs = [lot.choice((-1, 1)) * (0.05 + 0.01 * n) for n in range(20)]
        alarms += bool(np.max(evidence._signs(np.array(logs))) >= math.log(20))
    assert alarms <= 20
