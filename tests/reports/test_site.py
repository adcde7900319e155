"""The site as files: links, data, configuration, and what is refused."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import pytest
import yaml
from markupsafe import escape

from tests.reports import runs
from todobatch.errors import StoreError, UsageError
from todobatch.lab.store.folder import Run
from todobatch.units import show_percent, show_ratio
from todobatch_reports import pages, site
from todobatch_reports.frames import Figures, said

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]


class Links(HTMLParser):
    """Every address that a page names, and every name that it can be entered at."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.inline_scripts = 0
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.names.add(given["id"])
        if tag == "script" and "src" not in given and "type" not in given:
            self.inline_scripts += 1
        if tag in {"script", "img", "link"} and given.get("rel") != "canonical":
            self.loaded.append(given.get("src") or given.get("href") or "")
        if "href" in given:
            self.addresses.append(given["href"])


def html(site_folder: Path) -> dict[str, Links]:
    found = {path.name: Links(path) for path in site_folder.glob("*.html")}
    return {name: links for name, links in found.items() if name != "404.html"}


def test_every_link_leads_to_a_file_and_a_name_that_are_there(site_folder: Path) -> None:
    found = html(site_folder)
    assert set(found) == {name.replace(".md", ".html") for name, _ in pages.NAMES}
    broken = []
    for page, links in found.items():
        for address in links.addresses:
            path, name = urldefrag(address)
            if urlsplit(path).scheme:
                continue
            target = path or page
            if not (site_folder / target).exists() or (
                name and target in found and name not in found[target].names | {"__skip"}
            ):
                broken.append((page, address))
    assert broken == []


def test_no_page_loads_anything_from_elsewhere_or_by_an_absolute_path(site_folder: Path) -> None:
    for page, links in html(site_folder).items():
        outside = [a for a in links.loaded if urlsplit(a).scheme or a.startswith("/")]
        assert outside == [], page


def test_no_page_has_a_script_in_it(site_folder: Path) -> None:
    assert {
        page: links.inline_scripts for page, links in html(site_folder).items()
    } == dict.fromkeys(html(site_folder), 0)


def test_every_figure_of_the_dashboard_is_the_runs(site_folder: Path, figures: Figures) -> None:
    text = (site_folder / "index.html").read_text("utf-8")
    assert figures.summaries
    assert figures.winners
    for summary in figures.summaries:
        if summary.speedup is not None and summary.cell.executor != "sequential":
            assert show_ratio(summary.speedup.estimate) in text
        assert show_percent(summary.cpu_use) in text
    for winner in figures.winners:
        point, rest = said(winner)
        assert f"<strong>{escape(point)}</strong> {escape(rest)}" in text


def test_each_cell_has_its_row_on_the_data_page(site_folder: Path, figures: Figures) -> None:
    names = html(site_folder)["data.html"].names
    assert set(figures.cells["anchor"]) <= names


def test_a_quick_run_says_so_loudly_and_a_full_one_does_not(site_folder: Path) -> None:
    meta = runs.meta(mode="quick", blocks=2, workloads=("example8",))
    quick = pages.make(Figures.of(Run(meta, runs.samples(meta)))).texts
    for page in ("index.md", "readiness.md"):
        assert "This was a quick run" in quick[page]
        full = (site_folder / page.replace(".md", ".html")).read_text("utf-8")
        assert "This was a quick run" not in full


def test_one_block_claims_no_limit_it_did_not_see() -> None:
    meta = runs.meta(mode="quick", blocks=1, workloads=("example8",))
    text = pages.make(Figures.of(Run(meta, runs.samples(meta)))).texts["scaling.md"]
    assert "the samples cannot tell 2 workers from 1" in text
    assert "no faster" not in text


def test_void_samples_are_told_with_their_reason(site_folder: Path) -> None:
    assert "its output differs" in (site_folder / "method.html").read_text("utf-8")


def test_what_a_batch_goes_through_is_told_and_left_out_where_it_was_not_recorded(
    site_folder: Path, figures: Figures, tmp_path: Path
) -> None:
    page = (site_folder / "scaling.html").read_text()
    assert "what a batch goes through, on average" in page
    assert "1.20 ms" in page  # the unpickling of processes in the made-up run
    old = [
        replace(s, spans=[span[:4] for span in s.spans], voluntary_switches=None)
        for s in figures.run.samples
    ]
    folder = runs.write(tmp_path / "old", figures.meta, old)
    site.build(folder, tmp_path / "site")
    assert "what a batch goes through" not in (tmp_path / "site/scaling.html").read_text()


def test_the_data_is_the_runs_own(site_folder: Path, run: Run, run_folder: Path) -> None:
    data = site_folder / "data"
    assert (data / "samples.jsonl").read_bytes() == (run_folder / "samples.jsonl").read_bytes()
    assert json.loads((data / "run.json").read_text("utf-8"))["run_id"] == run.meta.run_id
    with open(data / "samples.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["wall_s"]) for row in rows] == [s.wall_s for s in run.samples]


def test_text_from_a_run_is_shown_and_never_run() -> None:
    meta = runs.meta(blocks=2, workloads=("example8",))
    meta.machine["cpu_model"] = "<script>alert(1)</script>"
    texts = pages.make(Figures.of(Run(meta, runs.samples(meta)))).texts
    assert all("<script>" not in text for text in texts.values())
    assert "&lt;script&gt;" in texts["index.md"]


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
    meta = runs.meta(blocks=1, workloads=("example8",))
    folder = runs.write(tmp_path / "empty", meta, [])
    with pytest.raises(StoreError, match="nothing to report") as caught:
        site.build(folder, tmp_path / "site")
    assert "--resume" in caught.value.remedy


def test_docs_without_a_configuration_beside_them_are_refused(
    tmp_path: Path, run_folder: Path
) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(UsageError, match=r"mkdocs\.yml"):
        site.build(run_folder, tmp_path / "site", docs=tmp_path / "docs")


def test_a_broken_link_in_the_docs_is_named_when_strict(tmp_path: Path, run_folder: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "extra.md").write_text("# Extra\n\n[gone](gone.md)\n", "utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    config["nav"] = [{"Dashboard": "index.md"}, {"Extra": "extra.md"}]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config), "utf-8")
    with pytest.raises(StoreError, match=r"gone\.md"):
        site.build(run_folder, tmp_path / "site", docs=tmp_path / "docs", strict=True)
    assert not (tmp_path / "site").exists()


# The repository's own site ------------------------------------------------------------------------


def test_both_configurations_give_the_same_look() -> None:
    whole = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    alone = yaml.safe_load((site.ASSETS / "mkdocs.yml").read_text("utf-8"))
    for own in ("docs_dir", "site_dir", "nav"):
        del whole[own]
    assert whole == alone


def test_every_page_of_the_docs_has_its_place_in_the_nav() -> None:
    named = set(re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs)) for path in docs.rglob("*.md")} - {"index.md"}
    assert written - named == set()
    assert named - written == {name for name, _ in pages.NAMES} | {"documentation.md"}


def test_the_docs_are_built_in_without_a_broken_link(tmp_path: Path, run_folder: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    (copy / "docs").symlink_to(ROOT / "docs")
    (copy / "mkdocs.yml").write_bytes((ROOT / "mkdocs.yml").read_bytes())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "todobatch_reports.site", "--strict", "--docs", "docs"),
            *("--run", str(run_folder), "-o", str(tmp_path / "site")),
        ],
        cwd=copy,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "site" / "index.html")
    assert (tmp_path / "site" / "documentation.html").is_file()


def test_the_newest_run_comes_before_the_published_one(tmp_path: Path) -> None:
    meta = runs.meta(blocks=1, workloads=("example8",))
    published = runs.write(tmp_path / "published" / "machine", meta, runs.samples(meta))
    assert site.default_run(tmp_path) == published
    own = runs.write(tmp_path / "mine", meta, runs.samples(meta))
    assert site.default_run(tmp_path) == own


def test_without_any_run_the_remedy_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = site.main(["--results", str(tmp_path)])
    assert code == StoreError.exit_code
    assert "todobatch bench" in capsys.readouterr().err
