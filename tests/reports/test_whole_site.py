"""The whole site builds: the docs with the report, and the docs without one."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tools import check_links
from todobatch.errors import StoreError, UsageError
from todobatch_reports import pages, site

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
REPORT = {f"report/{name}" for name, _ in pages.NAMES}
NO_NOTICE = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The docs and their configuration, as in a fresh clone: without a report."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("report"))
    (folder / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text("utf-8"), "utf-8")
    for name in ("reports", "todobatch"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=checkout, check=False, capture_output=True, text=True,
        env=NO_NOTICE,
    )  # fmt: skip


def test_without_a_run_the_docs_build_and_say_how_to_make_the_report(checkout: Path) -> None:
    done = run(checkout, "todobatch_reports.site", "--placeholders")
    assert done.returncode == 0, done.stderr
    done = run(checkout, "mkdocs", "build", "--strict")
    assert done.returncode == 0, done.stderr
    assert list(check_links.broken_links(checkout / "site")) == []
    for page in (checkout / "docs/reference/api").glob("*.md"):
        module = page.read_text("utf-8").partition("\n::: ")[2].strip()
        names = check_links.Page(checkout / f"site/reference/api/{page.stem}.html").names
        public = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
        assert public <= names, page.name
    for name in REPORT:
        html = (checkout / "site" / name.replace(".md", ".html")).read_text("utf-8")
        assert "make site" in html


def test_with_a_run_the_site_holds_docs_and_report(checkout: Path, run_folder: Path) -> None:
    build = ("todobatch_reports.site", "--strict", "--run", str(run_folder))
    done = run(checkout, *build)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "site/report/index.html"
    assert list(check_links.broken_links(checkout / "site")) == []
    assert "Which way is fastest?" in (checkout / "site/report/index.html").read_text("utf-8")
    # Placeholders never replace a report, and a second build replaces the first one.
    run(checkout, "todobatch_reports.site", "--placeholders")
    assert "Which way is fastest?" in (checkout / "docs/report/index.md").read_text("utf-8")
    assert run(checkout, *build).returncode == 0


def test_every_page_of_the_docs_has_its_place_in_the_nav() -> None:
    named = set(re.findall(r"[\w./-]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    docs = ROOT / "docs"
    written = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    assert named == written | REPORT


def test_docs_without_a_configuration_beside_them_are_refused(
    tmp_path: Path, run_folder: Path
) -> None:
    (tmp_path / "docs").mkdir()
    with pytest.raises(UsageError, match=r"mkdocs\.yml"):
        site.build(run_folder, tmp_path / "site", docs=tmp_path / "docs")


def test_a_broken_link_in_the_docs_is_named_when_strict(checkout: Path, run_folder: Path) -> None:
    page = checkout / "docs" / "index.md"
    page.write_text(page.read_text("utf-8") + "\n[gone](gone.md)\n", "utf-8")
    with pytest.raises(StoreError, match=r"gone\.md"):
        site.build(run_folder, checkout / "site", docs=checkout / "docs", strict=True)
    assert not (checkout / "site").exists()


def test_a_folder_called_report_that_is_not_ours_is_left_alone(
    checkout: Path, run_folder: Path
) -> None:
    own = checkout / "docs" / "report" / "own.md"
    own.parent.mkdir()
    own.write_text("# Mine\n", "utf-8")
    with pytest.raises(UsageError, match="not a site that todobatch made"):
        site.build(run_folder, checkout / "site", docs=checkout / "docs")
    assert own.read_text("utf-8") == "# Mine\n"


# The link checker ---------------------------------------------------------------------------------

GOOD = {
    "index.html": '<a href="sub/page.html#there">x</a><a href="https://example.org/none">y</a>',
    "sub/page.html": '<h2 id="there">Here</h2><a href="../index.html">x</a><img src="dot.svg">',
    "sub/dot.svg": "<svg/>",
}


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def test_a_site_without_broken_links_passes(tmp_path: Path) -> None:
    assert check_links.main(written(tmp_path, GOOD)) == 0


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ('<a href="gone.html">x</a>', "leads to no file"),
        ('<a href="sub/page.html#elsewhere">x</a>', "no id 'elsewhere'"),
        ('<a href="#nowhere">x</a>', "no id 'nowhere'"),
        ('<img src="sub/gone.svg">', "leads to no file"),
        ('<script src="gone.js"></script>', "leads to no file"),
        ('<link rel="stylesheet" href="gone.css">', "leads to no file"),
        ('<a href="/sub/page.html">x</a>', "only at the root of a server"),
    ],
)
def test_a_broken_link_is_named_and_fails(
    html: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_links.main(written(tmp_path, GOOD | {"index.html": html})) == 1
    assert reason in capsys.readouterr().out


def test_a_site_without_pages_fails(tmp_path: Path) -> None:
    assert check_links.main(tmp_path) == 1
