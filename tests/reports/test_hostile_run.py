"""The site of a run whose every text was chosen to act on its reader, in a real browser.

The pages come from a server that sets no policy, so what holds is what the pages bring.
"""

import contextlib
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.reports.visits import PAGES, Visit, served, shown_panel, wake
from tests.tools import hostile, made_up
from todobatch.units import show_text
from todobatch_reports import site
from todobatch_reports.pages.base import TEMPLATES
from todobatch_reports.policy import protect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

OWN_LINK = re.compile(rf"(?:(?:\.|{'|'.join(PAGES)})(?:\.html)?)?(?:#[\w.-]*)?")
ATTACK = """
<script>alert(1)</script><img src="x" onerror="alert(2)"><base href="OUTSIDE/">
<img src="OUTSIDE/x.png"><iframe srcdoc="<script>alert(3)</script>"></iframe>
<style>@import 'OUTSIDE/x.css';</style><link rel="stylesheet" href="OUTSIDE/y.css">
<script src="OUTSIDE/z.js"></script><svg onload="alert(4)"></svg><iframe src="OUTSIDE/f"></iframe>
"""
# The pages that have a section for each workload, under its name.
WITH_SECTIONS = [
    name for name in PAGES if "## {{ section.workload }}" in (TEMPLATES / f"{name}.md").read_text()
]
OWN_FILE = re.compile(r"(?:data|assets/todobatch)/[\w.]+")


@pytest.fixture(scope="module")
def hostile_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    made_up.write_run(folder / "run", *hostile.run())
    site.build(folder / "run", folder / "site", strict=True)
    return folder / "site"


@pytest.fixture(scope="module")
def origin(hostile_site: Path) -> Iterator[str]:
    with served(hostile_site) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, origin: str) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield Visit(context, origin)
    context.close()


def quiet(visit: Visit) -> bool:
    assert visit.messages == []
    assert visit.asked_elsewhere == []
    return True


def words(text: str) -> str:
    return " ".join(text.split())


def test_nothing_in_a_run_reaches_out_or_speaks_up(visit: Visit) -> None:
    for name in PAGES:
        page = visit.open(name)
        for chart in page.locator(".tb-chart").all():
            panel = wake(page, chart.get_attribute("data-chart") or "")
            panel.locator("g.mark-symbol path, g.mark-rect path").first.hover(force=True)
    assert quiet(visit)


def test_no_link_picture_script_or_handler_comes_from_a_run(visit: Visit) -> None:
    for name in PAGES:
        page = visit.open(name)
        links = page.eval_on_selector_all(
            "main a, nav a", "all => all.map(a => a.getAttribute('href'))"
        )
        assert links
        strange = [x for x in links if not OWN_LINK.fullmatch(x) and not OWN_FILE.fullmatch(x)]
        assert strange == []
        for kind in ("img", "iframe", "object", "embed", "form", "script", "base", "meta", "link"):
            assert page.locator(f"article {kind}").count() == 0, kind
        handlers = page.evaluate(
            """[...document.querySelectorAll("*")].flatMap(
                 (node) => [...node.attributes].filter((each) => /^on/i.test(each.name))
               ).length"""
        )
        assert handlers == 0
        addresses = page.evaluate(
            """[...document.querySelectorAll("main *")].flatMap(
                 (node) => [...node.attributes].map((each) => each.value)
               ).filter((value) => /^\\s*(javascript|data|https?):/i.test(value))"""
        )
        assert [x for x in addresses if not x.startswith("http://www.w3.org/")] == []


def shown(page: Page) -> str:
    return words(page.locator("main").text_content() or "")


def test_every_text_is_shown_as_it_is(visit: Visit) -> None:
    assert {"index", "scaling"} <= {*WITH_SECTIONS}
    for name in PAGES:
        page = visit.open(name)
        headings = [words(text) for text in page.locator("main h2, main h3").all_text_contents()]
        body = shown(page)
        for workload in hostile.WORKLOADS:
            text = words(show_text(workload))
            assert text in body, name
            assert name not in WITH_SECTIONS or any(each.startswith(text) for each in headings)
    method = shown(visit.open("method"))
    for text in hostile.ALL:
        assert words(show_text(text)) in method  # in the table of the machine
    assert words(show_text("\n".join(hostile.ALL))) in method  # the reason of a void sample


def test_charts_show_names_as_they_are(visit: Visit) -> None:
    page = visit.open("index")
    texts = " ".join(page.locator(".tb-chart svg text").all_text_contents())
    assert "`x` <b>{ .y }" in texts
    panel = shown_panel(page.locator(".tb-chart").first)
    name = page.locator(".tb-chart").first.get_attribute("data-chart") or ""
    wake(page, name)
    assert "`x` <b>{ .y }" in " ".join(panel.locator("svg text").all_text_contents())


def test_search_shows_what_it_finds_as_text(visit: Visit) -> None:
    page = visit.open("index")
    page.locator(".md-search__input").click()
    page.get_by_text("Type to start searching").wait_for()
    page.locator(".md-search__input").press_sequentially("onmouseover")
    page.locator(".md-search-result__link").first.wait_for()
    found = words(page.locator(".md-search-result").text_content() or "")
    assert "x { onmouseover=alert(1) }" in found
    assert page.locator(".md-search-result img, .md-search-result script").count() == 0
    assert quiet(visit)


def test_markup_that_got_into_a_page_nevertheless_can_do_nothing(
    browser: Browser, hostile_site: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(hostile_site, tmp_path / "site")
    page = copy / "method.html"
    with asked_of() as (outside, asked), served(copy) as server:
        attack = ATTACK.replace("OUTSIDE", outside)
        page.write_text(page.read_text("utf-8").replace("<h1", f"{attack}<h1", 1), "utf-8")
        # As if it had been there when the site was built: what moves the theme's scripts leaves it.
        protect(copy, copy, copy / site.OURS)
        assert "<script>alert(1)</script>" in page.read_text("utf-8")
        context = browser.new_context()
        visit = Visit(context, server)
        visit.open("method")
        context.close()
    assert not [message for message in visit.messages if message.startswith("dialog")]
    assert asked == []
    refused = [message for message in visit.messages if "Content Security Policy" in message]
    assert len(refused) >= 8


@contextlib.contextmanager
def asked_of() -> Iterator[tuple[str, list[str]]]:
    """A server elsewhere, and what it was asked for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked: list[str] = []
        ended = threading.Event()

        def listen() -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    if ended.is_set():
                        return
                    # A browser may connect ahead of a request that it then does not send.
                    if request := connection.recv(1000):
                        asked.append(request.decode("utf-8", "replace"))

        thread = threading.Thread(target=listen)
        thread.start()
        address = server.getsockname()
        yield f"http://127.0.0.1:{address[1]}", asked
        ended.set()
        socket.create_connection(address).close()
        thread.join()
