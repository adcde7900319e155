import re
from dataclasses import replace

import pytest

from tests.tools import made_up
from todobatch.lab.store.folder import Run
from todobatch_reports import charts, pages
from todobatch_reports.frames import Figures, span_frame


@pytest.fixture(scope="module")
def drawn(figures: Figures) -> list[charts.Chart]:
    return pages.make(figures).charts


def test_every_chart_is_drawn_in_both_sizes_and_fits_them(drawn: list[charts.Chart]) -> None:
    assert len(drawn) == 9  # four for each of two workloads, and memory
    for chart in drawn:
        assert chart.narrow.width <= 330, chart.name
        assert chart.wide.width <= 665, chart.name
        assert chart.narrow.width < chart.wide.width


def test_no_colour_is_fixed_so_light_and_dark_need_one_picture(drawn: list[charts.Chart]) -> None:
    for chart in drawn:
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', chart.wide.svg))
        fixed = {
            c for c in colours if not c.startswith("var(") and c not in {"none", "transparent"}
        }
        assert fixed == set(), chart.name


def test_every_chart_has_an_alternative_text_and_a_name_of_its_own(
    drawn: list[charts.Chart],
) -> None:
    assert len({chart.name for chart in drawn}) == len(drawn)
    assert all(len(chart.alternative) > 40 for chart in drawn)


def test_a_picture_holds_no_address(drawn: list[charts.Chart]) -> None:
    for chart in drawn:
        found = set(re.findall(r"https?://[^\s\"<]+", chart.wide.svg))
        assert found <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_thousands_of_spans_become_few_bars_that_cover_the_same_time() -> None:
    sample = made_up.full_samples(made_up.full_meta(blocks=1))[0]
    spans = [[f"w{n % 2}", n, n * 0.001, n * 0.001 + 0.0015] for n in range(5000)]
    frame = span_frame(replace(sample, spans=spans, wall_s=5.0015))
    bars = charts.joined(frame, 5.0015)
    assert len(bars) <= charts.MOST_BARS
    assert bars["count"].sum() == 5000
    assert bars["end_s"].max() == pytest.approx(frame["end_s"].max())


def test_a_run_of_one_block_is_drawn_without_intervals() -> None:
    meta = made_up.full_meta(mode="quick", blocks=1, workloads=("example8",))
    made = pages.make(Figures.of(Run(meta, made_up.full_samples(meta))))
    assert all(chart.wide.svg.startswith("<svg") for chart in made.charts)
    assert "nan" not in " ".join(chart.wide.svg for chart in made.charts).lower()


def test_free_threads_and_threads_with_a_gil_have_different_colours() -> None:
    assert charts.colour_of("threads", gil_enabled=True) != charts.colour_of(
        "threads", gil_enabled=False
    )
    assert charts.colour_of("my-pool", gil_enabled=True, others=["my-pool"]).startswith("var(")
