"""Statistics on made-up samples with known answers."""

import math
from dataclasses import replace

import pytest

from tests.tools.made_up import (
    FREE,
    FREE_4,
    PROCESSES,
    SEQ,
    SEQ_T,
    THREADS,
    drifting,
    meta,
    run_of,
    sample,
)
from todobatch.lab.stats.estimate import (
    geometric_mean,
    good_samples,
    log_ratios,
    mean,
    p_value,
    ratio_of,
    verdict_of,
)
from todobatch.lab.stats.verdict import (
    ANY_TIME,
    FIXED,
    Rule,
    against_field,
    compare_cells,
    rule_of,
    summarise,
    undecided,
    winners,
)
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell, Estimate


def test_a_mean_and_its_interval_are_students() -> None:
    # Logarithms 0, 1, 2: mean 1, standard error 1/sqrt(3), t(0.975, 2) = 4.30265 (any t table).
    estimate = geometric_mean([0.0, 1.0, 2.0])
    half = 4.302653 / math.sqrt(3)
    assert estimate.estimate == pytest.approx(math.e)
    assert math.log(estimate.low) == pytest.approx(1 - half, abs=1e-5)
    assert math.log(estimate.high) == pytest.approx(1 + half, abs=1e-5)


def test_two_blocks_at_a_strict_level_leave_a_ratio_anywhere() -> None:
    estimate = geometric_mean([0.0, 3.0], 0.9999)
    assert (estimate.low, estimate.high) == (0.0, math.inf)


def test_one_value_has_no_interval() -> None:
    estimate = mean([2.0])
    assert estimate.estimate == pytest.approx(2.0)
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)


def test_a_measure_with_zeros_is_averaged_as_it_is() -> None:
    assert mean([0.0, 0.0, 0.3]).estimate == pytest.approx(0.1)


def test_a_ratio_is_the_middle_of_its_walsh_averages_with_the_signed_rank_interval() -> None:
    # Seven values: 28 averages of two. P(T <= 2) = 3/128, P(T <= 3) = 5/128 (Wilcoxon's table), so
    # the third from each end bounds the interval.
    logs = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    walsh = sorted((a + b) / 2 for n, a in enumerate(logs) for b in logs[n:])
    ratio = ratio_of(logs)
    assert math.log(ratio.estimate) == pytest.approx(0.4)
    assert math.log(ratio.low) == pytest.approx(walsh[2])
    assert math.log(ratio.high) == pytest.approx(walsh[-3])


def test_a_wild_block_weighs_no_more_than_its_rank() -> None:
    logs = [0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10, 0.11]
    calm, wild = ratio_of([*logs, 0.13]), ratio_of([*logs, 13.0])
    assert wild.estimate == pytest.approx(calm.estimate, rel=0.01)
    assert wild.high > calm.high  # it is shown all the same
    assert geometric_mean([*logs, 13.0]).estimate > 4


def test_fewer_than_six_blocks_get_students_interval() -> None:
    logs = [0.1, 0.2, 0.15, 0.12, 0.18]
    assert ratio_of(logs) == geometric_mean(logs)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.05, 1.10, "faster"),
        (0.90, 0.95, "slower"),
        (0.99, 1.01, "equivalent"),
        (1.001, 1.015, "equivalent"),
        (0.97, 1.03, "inconclusive"),
        (1.01, 1.05, "faster"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_a_verdict_on_a_fixed_plan_follows_from_the_interval(
    low: float, high: float, verdict: str
) -> None:
    assert verdict_of(Estimate((low + high) / 2, low, high)) == verdict


def test_drift_that_all_share_does_not_blur_a_ratio() -> None:
    run = run_of({SEQ: drifting(1.0), THREADS: drifting(0.5)})
    by_cell = {each.cell: each for each in summarise(run)}
    speedup = by_cell[THREADS].speedup
    assert speedup is not None
    assert (speedup.low, speedup.high) == pytest.approx((2.0, 2.0))
    # The times themselves vary as the machine does.
    assert by_cell[THREADS].wall_s.high > 1.3 * by_cell[THREADS].wall_s.low


def test_a_speedup_is_against_sequential_of_the_same_interpreter() -> None:
    run = run_of({SEQ: drifting(1.0), SEQ_T: drifting(1.2), FREE: drifting(0.6)})
    free = next(each for each in summarise(run) if each.cell == FREE)
    assert free.speedup is not None
    assert free.speedup.estimate == pytest.approx(2.0)
    assert free.efficiency is not None
    assert free.efficiency.estimate == pytest.approx(1.0)


def test_without_a_sequential_sample_there_is_no_speedup() -> None:
    assert summarise(run_of({THREADS: drifting(1.0)}))[0].speedup is None


def test_void_samples_are_counted_and_in_no_figure() -> None:
    run = run_of({SEQ: drifting(1.0)})
    spoiled = Run(run.meta, [*run.samples, sample(SEQ, block=9, wall_s=100.0, void="too late")])
    (before,), (after,) = summarise(run), summarise(spoiled)
    assert after == replace(before, voids=1)


def test_only_blocks_that_both_cells_have_are_paired() -> None:
    run = run_of({SEQ: drifting(1.0), THREADS: drifting(0.5)}, blocks=4)
    unfinished = Run(run.meta, [*run.samples, sample(THREADS, block=4, wall_s=50.0)])
    assert compare_cells(unfinished, THREADS, SEQ) == compare_cells(run, THREADS, SEQ)


def test_a_comparison_is_above_one_when_the_first_is_faster() -> None:
    run = run_of({SEQ: drifting(1.0, 0.01), THREADS: drifting(0.5)})
    there, back = compare_cells(run, THREADS, SEQ), compare_cells(run, SEQ, THREADS)
    assert there.verdict == "faster"
    assert back.verdict == "slower"
    assert there.ratio.estimate == pytest.approx(1 / back.ratio.estimate)
    assert there.pairs == 5


def test_cells_without_a_common_block_are_inconclusive() -> None:
    run = Run(meta(), [sample(SEQ, block=0), sample(THREADS, block=1)])
    comparison = compare_cells(run, SEQ, THREADS)
    assert comparison.verdict == "inconclusive"
    assert comparison.pairs == 0
    assert math.isnan(comparison.ratio.estimate)


def test_a_clear_winner_is_named_with_its_lead() -> None:
    (winner,) = winners(
        run_of({SEQ: drifting(1.0, 0.01), SEQ_T: drifting(1.1), FREE: drifting(0.55, 0.005)})
    )
    assert winner.verdict == "faster"
    assert winner.best.cell == FREE
    assert winner.best.approach == "free-threads"
    assert winner.tied == ()
    assert winner.sentence.startswith("example8: free-threads on 3.14t, 2 workers is fastest")
    assert "sequential on 3.14, takes 1.82×" in winner.sentence


def test_the_same_approach_with_more_workers_does_not_take_the_win_away() -> None:
    (winner,) = winners(
        run_of({SEQ_T: drifting(1.0), FREE: drifting(0.5, 0.02), FREE_4: drifting(0.51, -0.02)})
    )
    assert winner.verdict == "faster"
    assert [each.cell for each in winner.tied] == [FREE_4]


def test_two_approaches_that_overlap_are_inconclusive() -> None:
    (winner,) = winners(
        run_of({SEQ: drifting(1.0), PROCESSES: drifting(0.5, 0.05), FREE: drifting(0.5, -0.04)})
    )
    assert winner.verdict == "inconclusive"
    assert len(winner.tied) == 1
    assert "example8: inconclusive. " in winner.sentence


def test_one_block_is_never_enough_for_a_verdict() -> None:
    (winner,) = winners(run_of({SEQ: drifting(1.0), THREADS: drifting(0.1)}, blocks=1))
    assert winner.verdict == "inconclusive"
    assert "one block shows no spread" in winner.sentence


@pytest.mark.parametrize("rule", [FIXED, ANY_TIME], ids=["fixed", "any time"])
def test_many_comparisons_ask_for_more_than_one_does(rule: Rule) -> None:
    def run_at(gain: float) -> Run:
        rivals = {SEQ: drifting(1.0), THREADS: drifting(1.0), PROCESSES: drifting(1.0)}
        return run_of({FREE: drifting(1 - gain, 0.03), **rivals}, blocks=10)

    # A gain that is decided by itself, and not as one of three (Holm: a third of the level).
    gain = next(
        gain / 1000
        for gain in range(1, 200)
        if 0.02 < rule.p(_logs(run_at(gain / 1000), FREE, SEQ)) < 0.045
    )
    good = good_samples(run_at(gain))
    alone = against_field(good, FREE, [SEQ], rule)[SEQ]
    among = against_field(good, FREE, [SEQ, THREADS, PROCESSES], rule)[SEQ]
    assert (alone.verdict, among.verdict) == ("faster", "inconclusive")
    assert alone.ratio == among.ratio  # the interval shown is the ordinary one in both


def test_a_run_with_a_target_uses_the_rule_that_is_valid_at_any_time() -> None:
    assert rule_of(run_of({SEQ: drifting(1.0)})) is FIXED
    asked = Run(meta(target=0.02), [])
    assert rule_of(asked) is ANY_TIME
    logs = [0.05, 0.01, 0.06, 0.02, 0.04]
    assert ANY_TIME.p(logs) > FIXED.p(logs) == p_value(logs)


def test_undecided_cells_are_the_first_and_those_not_separated_from_it() -> None:
    close = {FREE: drifting(0.5, 0.05), PROCESSES: drifting(0.51, -0.05)}
    run = run_of({SEQ: drifting(1.0), **close}, blocks=8)
    assert undecided(run, "example8", 0.02) == (FREE, PROCESSES)
    assert undecided(run, "example8", 0.50) == ()  # known well enough, though not told apart


def test_nothing_is_in_doubt_where_the_first_beats_the_others() -> None:
    run = run_of({SEQ: drifting(1.0, 0.01), FREE: drifting(0.5, 0.01)}, blocks=8)
    assert undecided(run, "example8", 0.02) == ()


def test_a_cell_that_stopped_early_keeps_its_rank_though_the_machine_slowed_down() -> None:
    # Later blocks take twice as long: by mean times PROCESSES, stopped after four, would be first.
    def slowing(seconds: float, block: int) -> float:
        return seconds * (1 if block < 4 else 2) * (1 + 0.001 * (block % 3))

    run = run_of(
        {FREE: lambda block: slowing(0.5, block), PROCESSES: lambda block: slowing(0.6, block)},
        blocks=12,
    )
    kept = [each for each in run.samples if each.executor != "processes" or each.block < 4]
    (winner,) = winners(Run(run.meta, kept))
    assert winner.best.cell == FREE


def _logs(run: Run, a: Cell, b: Cell) -> list[float]:
    good = good_samples(run)
    return log_ratios(good[a], good[b])


def test_the_gil_is_named_when_threads_share_one_cpu() -> None:
    run = run_of({SEQ: drifting(1.0), THREADS: drifting(1.02), FREE: drifting(0.5)})
    (winner,) = winners(run)
    why = dict(winner.reasons)["threads (GIL) on 3.14, 2 workers"]
    assert "the GIL: its 2 threads used 1.00 CPUs together" in why


def test_the_gil_is_not_named_when_the_work_waits() -> None:
    run = run_of({SEQ: drifting(1.0), THREADS: drifting(0.6), FREE: drifting(0.5)}, cpu_s=0.01)
    (winner,) = winners(run)
    assert "GIL:" not in dict(winner.reasons)["threads (GIL) on 3.14, 2 workers"]
    assert "idle 99 % of the time" in dict(winner.reasons)["sequential on 3.14"]


def test_copying_is_named_when_processes_spend_more_cpu_time() -> None:
    run = run_of({SEQ: drifting(1.0), PROCESSES: drifting(0.7), FREE: drifting(0.5)})
    dearer = [
        replace(each, cpu_s=1.5 * each.wall_s / 0.7) if each.executor == "processes" else each
        for each in run.samples
    ]
    (winner,) = winners(Run(run.meta, dearer))
    why = dict(winner.reasons)["processes on 3.14, 2 workers"]
    assert "1.50× the CPU time of sequential: it copies to and from its workers, or" in why


def test_start_up_that_changes_the_fastest_approach_is_reported() -> None:
    run = run_of({SEQ: drifting(1.0), PROCESSES: drifting(0.9)})
    slow = [
        replace(each, pool_start_s=0.8) if each.executor == "processes" else each
        for each in run.samples
    ]
    (winner,) = winners(Run(run.meta, slow))
    assert winner.best.cell == PROCESSES
    assert dict(winner.reasons)["with start-up counted"].startswith("sequential on 3.14 is fastest")
