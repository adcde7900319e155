import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import made_up
from todobatch_reports import scaling
from todobatch_reports.charts.timeline import MOST_BARS, MOST_LANES, folded, joined
from todobatch_reports.frames import Figures, lines, span_frame


@settings(deadline=None)  # a busy machine is not a wrong fit
@given(serial=st.floats(0.01, 0.95), cpus=st.integers(2, 64))
def test_the_serial_fraction_that_made_the_speed_ups_is_found_again(
    serial: float, cpus: int
) -> None:
    workers = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cpus]
    speedups = list(scaling.amdahl(np.array(workers * 3, dtype=float), serial))
    fit = scaling.fit_amdahl(workers * 3, speedups, cpus=cpus)
    assert fit is not None
    assert fit.serial.estimate == pytest.approx(serial, abs=1e-4)
    assert fit.residual < 1e-4
    assert fit.limit == pytest.approx(1 / serial, rel=1e-2)


def test_threads_that_share_a_lock_fit_as_all_serial_without_an_interval() -> None:
    fit = scaling.fit_amdahl([1, 1, 2, 2, 2], [1.0, 1.0, 0.97, 0.98, 0.96], cpus=2)
    assert fit is not None
    assert fit.serial.estimate == 1
    assert math.isnan(fit.serial.low)


def test_samples_with_more_workers_than_cpus_do_not_change_the_fit() -> None:
    within = scaling.fit_amdahl([1, 2, 2, 2], [1.0, 1.8, 1.82, 1.81], cpus=2)
    beyond = scaling.fit_amdahl([1, 2, 2, 2, 8, 8], [1.0, 1.8, 1.82, 1.81, 1.2, 1.3], cpus=2)
    assert within is not None
    assert beyond == within


def test_two_samples_or_one_cpu_are_no_fit() -> None:
    assert scaling.fit_amdahl([1, 2], [1.0, 1.9], cpus=2) is None
    assert scaling.fit_amdahl([1, 1, 2, 2], [1.0, 1.0, 1.9, 1.8], cpus=2) is None
    assert scaling.fit_amdahl([1, 2, 4], [1.0, 1.0, 1.0], cpus=1) is None
    assert scaling.fit_amdahl([1, 2, 2], [1.0, math.nan, math.nan], cpus=2) is None


def test_free_threads_stop_gaining_at_the_number_of_cpus(figures: Figures) -> None:
    line = next(
        line
        for line in lines(figures.of_workload("example8"))
        if line[0].approach == "free-threads"
    )
    steps = scaling.steps(figures.run, line)
    assert [(s.fewer, s.more) for s in steps] == [(1, 2), (2, 4), (4, 8)]
    assert [s.beyond(figures.cpus) for s in steps] == [False, True, True]
    assert steps[0].comparison.verdict == "faster"
    assert scaling.first_without_gain(steps) is steps[1]


def test_a_line_that_gains_at_every_step_does_not_flatten(figures: Figures) -> None:
    line = next(
        line
        for line in lines(figures.of_workload("io-wait"))
        if line[0].cell.executor == "coroutines"
    )
    assert scaling.first_without_gain(scaling.steps(figures.run, line)) is None


def test_balance_counts_the_idle_worker_and_the_one_that_got_no_batch() -> None:
    meta = made_up.full_meta(blocks=1, workloads=("example8",))
    sample = next(s for s in made_up.full_samples(meta) if s.workers == 4)
    spans = [["a", 0, 0.0, 1.0], ["a", 1, 1.0, 2.0], ["b", 2, 0.0, 1.0], ["c", 3, 0.0, 1.0]]
    found = scaling.balance(replace(sample, spans=spans, wall_s=2.0))
    assert found is not None
    # Busy 2, 1, 1 and 0 seconds of 2: half of the time is idle, the busiest has twice the mean.
    assert found.idle == pytest.approx(0.5)
    assert found.imbalance == pytest.approx(1.0)
    assert found.last_worker == "a"


def test_overlapping_spans_of_one_worker_are_counted_once() -> None:
    meta = made_up.full_meta(blocks=1, workloads=("io-wait",))
    spans = [["w", 0, 0.0, 2.0], ["w", 1, 1.0, 3.0], ["w", 2, 5.0, 6.0]]
    sample = replace(made_up.full_samples(meta)[0], spans=spans)
    assert scaling.covered(span_frame(sample)) == pytest.approx(4.0)


def test_a_sample_without_spans_has_no_balance() -> None:
    sample = replace(made_up.full_samples(made_up.full_meta(blocks=1))[0], spans=[])
    assert scaling.balance(sample) is None


def _frame(workers: int) -> pd.DataFrame:
    spans = [(f"process-{n}", n, n / 10, n / 10 + 0.05) for n in range(workers)]
    spans += [("process-3", workers + n, n / 10 + 0.06, n / 10 + 0.09) for n in range(5)]
    return pd.DataFrame(spans, columns=["worker", "batch", "start_s", "end_s"])


def test_replaced_workers_share_a_lane() -> None:
    frame = folded(_frame(375), 2)
    assert "process-3" in set(frame["worker"])
    assert (frame["worker"] == "373 more").sum() == 373
    assert len(set(frame["worker"])) == 3


def test_workers_that_were_not_replaced_have_their_own() -> None:
    assert folded(_frame(6), 6)["worker"].nunique() == 6


def test_a_run_with_more_workers_than_bars_is_drawn() -> None:
    frame = folded(_frame(2 * MOST_BARS), 1_000)
    assert frame["worker"].nunique() == MOST_LANES + 1
    assert len(joined(frame, 80.0)) <= MOST_BARS
