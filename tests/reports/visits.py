"""A site on a server, visited with Chromium."""

import contextlib
import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from playwright.sync_api import BrowserContext, Dialog, Locator, Page, Request

from todobatch_reports.pages import NAMES

PAGES = tuple(file.removesuffix(".md") for file, _ in NAMES)
"""The names of all pages of the report."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    headers_sent: ClassVar[dict[str, str]] = {}

    def end_headers(self) -> None:
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path, **headers: str) -> Iterator[str]:
    """Serve a folder on loopback; gives the origin. ``_`` in a header's name stands for ``-``."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    kind = type("Handler", (_Handler,), {"headers_sent": sent})
    handler = functools.partial(kind, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Visit:
    """A page with its messages, dialogs and requests."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.origin = origin
        self.page: Page = context.new_page()
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.page.on(
            "console", lambda message: self.messages.append(f"{message.type}: {message.text}")
        )
        self.page.on("pageerror", lambda error: self.messages.append(f"pageerror: {error}"))
        self.page.on("dialog", self._shut)
        self.page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)

    def _shut(self, dialog: Dialog) -> None:
        self.messages.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, name: str) -> Page:
        self.page.goto(f"{self.origin}/{name}.html", wait_until="load")
        return self.page

    @property
    def asked_elsewhere(self) -> list[str]:
        return [url for url in self.asked if not url.startswith((self.origin, "data:", "blob:"))]


def shown_panel(chart: Locator) -> Locator:
    return chart.locator(":scope > .tb-wide, :scope > .tb-narrow").locator("visible=true")


def wake(page: Page, name: str) -> Locator:
    """Hover over a chart and wait until it is live; gives the panel that is shown."""
    panel = shown_panel(page.locator(f"[data-chart='{name}']"))
    panel.scroll_into_view_if_needed()
    panel.hover()
    page.locator(f"[data-chart='{name}'] [data-live=yes]").wait_for()
    return panel
