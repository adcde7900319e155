"""The site as files: links, data, configuration, and what is refused."""

import csv
import itertools
import json
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.tools import made_up
from tests.tools.check_links import Page, broken_links
from todobatch.cli.views import show
from todobatch.errors import StoreError, UsageError
from todobatch.lab.store.folder import Run
from todobatch.units import show_percent, show_ratio
from todobatch_reports import pages, site
from todobatch_reports.frames import Figures, split_sentence

pytestmark = pytest.mark.timeout(300)


def html(site_folder: Path) -> dict[str, Page]:
    found = {path.name: Page(path) for path in site_folder.glob("*.html")}
    return {name: links for name, links in found.items() if name != "404.html"}


def test_every_link_leads_to_a_file_and_a_name_that_are_there(site_folder: Path) -> None:
    assert set(html(site_folder)) == {name.replace(".md", ".html") for name, _ in pages.NAMES}
    assert list(broken_links(site_folder)) == []


def test_no_page_loads_anything_from_elsewhere_or_by_an_absolute_path(site_folder: Path) -> None:
    for page, links in html(site_folder).items():
        outside = [a for a in links.loaded if urlsplit(a).scheme or a.startswith("/")]
        assert outside == [], page


def test_no_page_has_a_script_in_it(site_folder: Path) -> None:
    assert {
        page: links.inline_scripts for page, links in html(site_folder).items()
    } == dict.fromkeys(html(site_folder), 0)


def test_every_figure_of_the_dashboard_is_the_runs(site_folder: Path, figures: Figures) -> None:
    text = unescape((site_folder / "index.html").read_text("utf-8"))
    assert figures.summaries
    assert figures.winners
    for summary in figures.summaries:
        if summary.speedup is not None and summary.cell.executor != "sequential":
            assert show_ratio(summary.speedup.estimate) in text
        assert show_percent(summary.cpu_use) in text
    for winner in figures.winners:
        point, rest = split_sentence(winner)
        assert f"<strong>{point}</strong> {rest}" in text


def test_each_cell_has_its_row_on_the_data_page(site_folder: Path, figures: Figures) -> None:
    names = html(site_folder)["data.html"].names
    assert set(figures.cells["anchor"]) <= names


def test_a_quick_run_says_so_loudly_and_a_full_one_does_not(site_folder: Path) -> None:
    meta = made_up.full_meta(mode="quick", blocks=2, workloads=("example8",))
    quick = pages.make(Figures.of(Run(meta, made_up.full_samples(meta)))).texts
    for page in ("index.md", "readiness.md"):
        assert "This was a quick run" in quick[page]
        full = (site_folder / page.replace(".md", ".html")).read_text("utf-8")
        assert "This was a quick run" not in full


def test_one_block_claims_no_limit_it_did_not_see() -> None:
    meta = made_up.full_meta(mode="quick", blocks=1, workloads=("example8",))
    text = pages.make(Figures.of(Run(meta, made_up.full_samples(meta)))).texts["scaling.md"]
    assert "inconclusive: the data do not separate 2 workers from 1" in unescape(text)
    assert "as fast with" not in text


def test_void_samples_are_told_with_their_reason(site_folder: Path) -> None:
    assert "its output differs" in (site_folder / "method.html").read_text("utf-8")


def test_what_a_batch_goes_through_is_told_and_left_out_where_it_was_not_recorded(
    site_folder: Path, figures: Figures, tmp_path: Path
) -> None:
    page = (site_folder / "scaling.html").read_text()
    assert "phases of a batch, on average" in page
    assert "1.20 ms" in page  # the unpickling of processes in the made-up run
    old = [
        replace(s, spans=[span[:4] for span in s.spans], voluntary_switches=None)
        for s in figures.run.samples
    ]
    folder = made_up.write_run(tmp_path / "old", figures.meta, old)
    site.build(folder, tmp_path / "site")
    assert "phases of a batch" not in (tmp_path / "site/scaling.html").read_text()


def test_the_data_is_the_runs_own(site_folder: Path, run: Run, run_folder: Path) -> None:
    data = site_folder / "data"
    assert (data / "samples.jsonl").read_bytes() == (run_folder / "samples.jsonl").read_bytes()
    assert json.loads((data / "run.json").read_text("utf-8"))["run_id"] == run.meta.run_id
    with open(data / "samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["wall_s"]) for row in rows] == [s.wall_s for s in run.samples]


def test_no_text_in_a_download_is_a_formula(run: Run, tmp_path: Path) -> None:
    texts = ("=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "plain")
    samples = [
        replace(sample, peak_method=text, load_1m=-0.5)
        for sample, text in zip(run.samples, itertools.cycle(texts), strict=False)
    ]
    site.write_pages(Run(run.meta, samples), tmp_path / "docs", alone=True)
    with open(tmp_path / "docs/data/samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["peak_method"] for row in rows} == {
        "'=1+1", "'+1", "'-1+1", "'@SUM(A1)", "'\t=1", r"\r=1", "'=1", "plain",
    }  # fmt: skip
    assert {row["load_1m"] for row in rows} == {"-0.5"}


def test_the_dashboard_says_what_show_says_of_a_busy_machine(run: Run) -> None:
    machine = {**run.meta.machine, "load": [7.7, 1.0, 1.0]}
    doctor = [{"name": "governor", "severity": "warning", "seen": "powersave"}]
    busy = Run(replace(run.meta, machine=machine, doctor=doctor), run.samples)
    page = unescape(pages.make(Figures.of(busy)).texts["index.md"])
    box, _, _ = page.partition("</div>")
    assert "The machine was busy at the start (load 7.7 on 2 CPUs)" in box
    assert "Doctor: governor: powersave" in box
    for note in show.notes(busy):
        if not note.startswith("  "):
            assert note.rstrip(":") in page
    assert "Read the figures with care" not in pages.make(Figures.of(run)).texts["index.md"]


def test_a_folder_that_is_not_a_site_of_ours_is_left_alone(
    tmp_path: Path, run_folder: Path
) -> None:
    precious = tmp_path / "home" / "letter.txt"
    precious.parent.mkdir()
    precious.write_text("dear", "utf-8")
    with pytest.raises(UsageError, match="not a site that todobatch made"):
        site.build(run_folder, precious.parent)
    assert precious.read_text("utf-8") == "dear"


def test_a_site_of_ours_is_replaced_as_a_whole(site_folder: Path, run_folder: Path) -> None:
    stale = site_folder / "stale.html"
    stale.write_text("old", "utf-8")
    assert site.build(run_folder, site_folder).is_file()
    assert not stale.exists()


def test_a_run_without_good_samples_is_refused_with_a_remedy(tmp_path: Path) -> None:
    meta = made_up.full_meta(blocks=1, workloads=("example8",))
    folder = made_up.write_run(tmp_path / "empty", meta, [])
    with pytest.raises(StoreError, match="nothing to report") as caught:
        site.build(folder, tmp_path / "site")
    assert "--resume" in caught.value.remedy


def test_the_newest_run_comes_before_the_published_one(tmp_path: Path) -> None:
    meta = made_up.full_meta(blocks=1, workloads=("example8",))
    samples = made_up.full_samples(meta)
    published = made_up.write_run(tmp_path / "published" / "machine", meta, samples)
    assert site.default_run(tmp_path) == published
    own = made_up.write_run(tmp_path / "mine", meta, samples)
    assert site.default_run(tmp_path) == own


def test_without_any_run_the_remedy_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = site.main(["--results", str(tmp_path)])
    assert code == StoreError.exit_code
    assert "todobatch bench" in capsys.readouterr().err
