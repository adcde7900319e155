"""The site works in Chromium, from a static server, under a strict policy for scripts.

Without a browser these tests fail and say how to get one; they are never skipped.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.reports.visits import PAGES, Visit, served, shown_panel, wake

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

WITH_CHARTS = ("index", "scaling", "readiness")
Look = tuple[tuple[int, int], Literal["light", "dark"]]
DESKTOP, PHONE = (1280, 900), (375, 740)


@pytest.fixture(scope="module")
def origin(site_folder: Path) -> Iterator[str]:
    # The site lies in a sub-folder of its server: nothing in it may count on being at the root.
    with served(site_folder.parent, Content_Security_Policy="script-src 'self'") as server:
        yield f"{server}/{site_folder.name}"


@pytest.fixture
def visit(browser: Browser, origin: str, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Yield a fresh browser context; a test may choose its size and colours by parameters."""
    look: Look = getattr(request, "param", (DESKTOP, "light"))
    (width, height), scheme = look
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
    )
    yield Visit(context, origin)
    context.close()


EVERY_LOOK = pytest.mark.parametrize(
    "visit",
    [(size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark")],
    indirect=True,
    ids=["desktop-light", "desktop-dark", "phone-light", "phone-dark"],
)


@EVERY_LOOK
def test_pages_say_nothing_in_the_console_and_ask_nobody_else(visit: Visit) -> None:
    for name in PAGES:
        visit.open(name)
    assert visit.messages == []
    assert visit.asked_elsewhere == []


@EVERY_LOOK
def test_no_page_is_wider_than_its_window(visit: Visit) -> None:
    for name in PAGES:
        page = visit.open(name)
        inner, scroll = page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert scroll <= inner, name


@EVERY_LOOK
def test_every_chart_is_a_picture_before_anything_is_touched(visit: Visit) -> None:
    for name in WITH_CHARTS:
        page = visit.open(name)
        charts = page.locator(".tb-chart").all()
        assert charts, name
        for chart in charts:
            panel = shown_panel(chart)
            assert panel.count() == 1
            assert panel.locator("svg path").count() > 3
            box = panel.locator("svg").bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= page.viewport_size["width"] + 1  # type: ignore[index]
    assert not any(url.endswith("vega.js") for url in visit.asked)


@EVERY_LOOK
def test_nothing_serious_bars_anyone_from_a_page(visit: Visit) -> None:
    for name in PAGES:
        page = visit.open(name)
        found = Axe().run(page).response["violations"]
        serious = [
            (v["id"], v["nodes"][0]["html"])
            for v in found
            if v["impact"] in {"serious", "critical"}
        ]
        assert serious == [], name


@pytest.mark.parametrize(
    "visit", [(DESKTOP, "light"), (PHONE, "light")], indirect=True, ids=["desktop", "phone"]
)
def test_a_chart_comes_alive_when_hovered_and_nothing_moves(visit: Visit) -> None:
    page = visit.open("index")
    before = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate(
        """() => {
          window.shifted = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shifted += entry.value;
          }).observe({ type: "layout-shift" });
        }"""
    )
    panel = wake(page, "example8-speedups")
    point = panel.locator("g.mark-symbol path").first
    point.hover(force=True)
    tooltip = page.locator(".tb-tooltip")
    tooltip.wait_for()
    assert re.search(r"Speed-up\s+\d\.\d\d×", tooltip.inner_text())
    assert "95 % interval" in tooltip.inner_text()
    assert page.evaluate("document.documentElement.scrollHeight") == before
    assert page.evaluate("window.shifted") == 0
    assert visit.messages == []
    assert visit.asked_elsewhere == []


def test_every_kind_of_chart_comes_alive(visit: Visit) -> None:
    woken = 0
    for name in WITH_CHARTS:
        page = visit.open(name)
        for chart in page.locator(".tb-chart").all():
            pictured = shown_panel(chart).locator("svg path").count()
            panel = wake(page, chart.get_attribute("data-chart") or "")
            # The live chart draws the same marks as the picture did.
            assert panel.locator("svg path").count() == pictured
            woken += 1
    assert woken == 9
    assert visit.messages == []


def test_a_chart_comes_alive_by_keyboard_too(visit: Visit) -> None:
    page = visit.open("readiness")
    page.locator("[data-chart=memory]").focus()
    page.locator("[data-chart=memory] [data-live=yes]").wait_for()


def test_a_chart_stays_a_picture_when_its_script_cannot_be_had(visit: Visit) -> None:
    page = visit.open("readiness")
    page.route("**/vega.js", lambda route: route.abort())
    panel = shown_panel(page.locator("[data-chart=memory]"))
    with page.expect_console_message(lambda m: "stays a picture" in m.text):
        panel.hover()
    assert panel.locator("svg path").count() > 3


def colour_of_a_bar(page: Page) -> str:
    bar = shown_panel(page.locator("[data-chart=memory]")).locator("g.mark-rect path").first
    return str(bar.evaluate("node => getComputedStyle(node).fill"))


def test_one_picture_has_other_colours_in_the_dark(visit: Visit) -> None:
    page = visit.open("readiness")
    light = colour_of_a_bar(page)
    page.emulate_media(color_scheme="dark")
    page.reload()
    dark = colour_of_a_bar(page)
    assert light != dark
    assert {light, dark}.isdisjoint({"rgb(0, 0, 0)", "none"})
    wake(page, "memory")
    assert colour_of_a_bar(page) == dark


def test_the_palette_can_be_switched_by_hand(visit: Visit) -> None:
    page = visit.open("index")
    scheme = "document.body.getAttribute('data-md-color-scheme')"
    seen = []
    for _ in range(3):
        page.locator("label[for^=__palette]:visible").click()
        seen.append(page.evaluate(scheme))
    assert {"default", "slate"} <= set(seen)
    assert visit.messages == []


def test_samples_can_be_downloaded(visit: Visit, run_folder: Path) -> None:
    page = visit.open("data")
    for name in ("samples.csv", "samples.jsonl", "cells.csv", "run.json"):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        got = download.value.path().read_text("utf-8")
        assert "example8" in got
    assert got == (run_folder / "run.json").read_text("utf-8")


def test_a_figure_leads_to_its_row_in_the_data(visit: Visit) -> None:
    page = visit.open("index")
    page.locator("tr.tb-best td a, tr.tb-tied td a").first.click()
    page.wait_for_url("**/data.html#cell-*")
    assert page.locator("tr:target").is_visible()


def test_search_finds_a_page(visit: Visit) -> None:
    page = visit.open("index")
    page.locator(".md-search__input").click()
    # The index is there; text that is typed before that is not looked up until the next key.
    page.get_by_text("Type to start searching").wait_for()
    page.locator(".md-search__input").press_sequentially("amdahl")
    result = page.locator(".md-search-result__link[href*='scaling.html']").first
    result.wait_for()
    assert visit.messages == []
    assert visit.asked_elsewhere == []


def test_search_finds_a_page_from_a_disk_too(visit: Visit, site_folder: Path) -> None:
    page = visit.page
    page.goto((site_folder / "index.html").as_uri())
    page.locator(".md-search__input").click()
    page.get_by_text("Type to start searching").wait_for()
    page.locator(".md-search__input").press_sequentially("amdahl")
    result = page.locator(".md-search-result__link[href*='scaling.html']").first
    result.wait_for()
    result.click()
    page.wait_for_url("**/scaling.html*")
    assert visit.messages == []
    assert [url for url in visit.asked if not url.startswith(("file:", "data:"))] == []


def test_charts_come_alive_from_a_disk_too(visit: Visit, site_folder: Path) -> None:
    visit.page.goto((site_folder / "readiness.html").as_uri())
    panel = wake(visit.page, "memory")
    assert panel.locator("svg path").count() > 3
