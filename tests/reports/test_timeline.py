"""The timeline has a lane for each worker, and one for those that were replaced."""

import pandas as pd

from todobatch_reports.charts.timeline import MOST_BARS, MOST_LANES, folded, joined


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
