"""One made-up run and the site built from it, shared by the tests of the report."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.tools import made_up
from todobatch.lab.store.folder import Run, load_run
from todobatch_reports import site
from todobatch_reports.frames import Figures


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full run with one void sample, on disk."""
    meta = made_up.full_meta(mode="full", blocks=6)
    taken = made_up.with_a_void(made_up.full_samples(meta), "its output differs")
    return made_up.write_run(tmp_path_factory.mktemp("runs") / "full", meta, taken)


@pytest.fixture(scope="session")
def run(run_folder: Path) -> Run:
    return load_run(run_folder)


@pytest.fixture(scope="session")
def figures(run: Run) -> Figures:
    return Figures.of(run)


@pytest.fixture(scope="session")
def site_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of that run, built as `todobatch report` builds it."""
    out = tmp_path_factory.mktemp("sites") / "site"
    site.build(run_folder, out, strict=True)
    return out


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        # playwright gives each launch a fresh profile of its own.
        launched = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield launched
        launched.close()
