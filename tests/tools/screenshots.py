"""Take pictures of the whole site: ``python tests/tools/screenshots.py site FOLDER``.

It saves each page for desktop and phone, light and dark, as a PNG file. ``dashboard.png`` is
the part of the dashboard that the README shows.
"""

import functools
import http.server
import sys
import threading
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

from tests.tools import chromium
from todobatch_reports.pages import NAMES

PAGES = (
    "index",
    *(f"report/{file.removesuffix('.md')}" for file, _ in NAMES),
    "reference/api/todobatch",
)
SIZES = {"desktop": (1280, 900), "phone": (375, 740)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def main(site: Path, folder: Path) -> None:
    """Serve the site on loopback and take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = functools.partial(_Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium.get(), args=list(FLAGS))
            for page in PAGES:
                for size, viewport in SIZES.items():
                    for scheme in SCHEMES:
                        path = folder / f"{page.replace('/', '-')}-{size}-{scheme}.png"
                        _take(browser, f"{origin}/{page}.html", viewport, scheme, path)
            _take(browser, f"{origin}/report/index.html#example8", (1280, 1100), "light",
                  folder / "dashboard.png", whole=False)  # fmt: skip
            browser.close()
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Suppress the log of the server."""


def _take(
    browser: Browser,
    url: str,
    size: tuple[int, int],
    scheme: Literal["light", "dark"],
    path: Path,
    *,
    whole: bool = True,
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(
        viewport=viewport,  # type: ignore[arg-type]
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page.goto(url, wait_until="load")
    page.wait_for_timeout(500)  # the header moves for a moment after a jump to an anchor
    page.screenshot(path=path, full_page=whole)
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
