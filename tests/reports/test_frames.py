import math

import pytest

from tests.tools import made_up
from todobatch.lab.store.folder import Run
from todobatch.lab.store.schema import Cell
from todobatch_reports import frames
from todobatch_reports.frames import Figures


def test_there_is_a_row_for_every_sample_voids_included(figures: Figures) -> None:
    assert list(figures.samples["number"]) == [s.number for s in figures.run.samples]
    assert (figures.samples["void"] != "").sum() == 1


def test_a_samples_speed_up_is_against_sequential_of_its_own_block(figures: Figures) -> None:
    row = figures.samples[
        (figures.samples["executor"] == "threads")
        & (figures.samples["interpreter"] == "3.14t")
        & (figures.samples["workers"] == 2)
        & (figures.samples["block"] == 3)
        & (figures.samples["workload"] == "example8")
    ].iloc[0]
    base = next(
        s
        for s in figures.run.samples
        if (s.executor, s.interpreter, s.block, s.workload)
        == ("sequential", "3.14t", 3, "example8")
    )
    assert row["speedup"] == pytest.approx(base.wall_s / row["wall_s"])


def test_a_void_sample_has_no_speed_up_and_is_nobodys_base() -> None:
    meta = made_up.full_meta(blocks=1, workloads=("example8",))
    taken = made_up.full_samples(meta)
    spoilt = [
        sample
        if sample.cell != Cell("example8", "3.14", "sequential", 1)
        else made_up.with_a_void([sample], "spoilt")[0]
        for sample in taken
    ]
    frame = frames.sample_frame(Run(meta, spoilt), ())
    of_gil = frame[frame["interpreter"] == "3.14"]
    assert of_gil["speedup"].isna().all()
    assert frame[frame["interpreter"] == "3.14t"]["speedup"].notna().all()


def test_a_cells_row_holds_what_its_summary_says(figures: Figures) -> None:
    summary = next(s for s in figures.summaries if s.cell.executor == "processes")
    row = figures.cells.set_index("cell").loc[summary.cell.key]
    assert row["wall_s_low"] == summary.wall_s.low
    assert row["peak_bytes"] == summary.peak_bytes.estimate
    assert row["samples"] == summary.samples


def test_threads_are_named_by_what_their_workers_reported(figures: Figures) -> None:
    named = {s.cell.interpreter: s.approach for s in figures.summaries if "thread" in s.approach}
    assert named == {"3.14": "threads (GIL)", "3.14t": "free-threads"}


def test_an_interpreter_given_as_a_path_is_called_by_its_version() -> None:
    facts = {"version": "3.14.7", "free_threaded_build": True}
    assert frames.interpreter_name("/opt/python/bin/python3", facts) == "3.14.7t"
    assert frames.interpreter_name("3.14t", facts) == "3.14t"


def test_no_two_cells_share_an_anchor(figures: Figures) -> None:
    names = [frames.anchor(s.cell) for s in figures.summaries]
    assert len(set(names)) == len(names)


def test_the_spread_of_one_value_is_not_known() -> None:
    assert math.isnan(frames.spread([1.0]))
    assert frames.spread([1.0, 3.0]) == pytest.approx(math.sqrt(2) / 2)
