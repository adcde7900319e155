"""Find broken links in a built site: ``python tests/tools/check_links.py SITE``.

Every internal address must lead to a file of the site, and every ``#name`` to an id on its page.
That covers pages, images, styles and scripts. Addresses on other servers are not checked.
"""

import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

NOT_LINKS = {"canonical", "preconnect", "dns-prefetch"}


class Page(HTMLParser):
    """The addresses that one page links to or loads, and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.inline_scripts = 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "script" and "src" not in given and "type" not in given:
            self.inline_scripts += 1
        if given.get("rel") in NOT_LINKS:
            return
        address = given.get("src", given.get("href"))
        if address is None:
            return
        (self.loaded if tag in {"script", "img", "link"} else self.links).append(address)


def broken_links(site: Path) -> Iterator[tuple[str, str, str]]:
    """Yield page, address and reason for each broken link of a site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        # A server shows 404.html at any address, so the theme's links in it begin at the root.
        root = site if path == site / "404.html" else None
        for address in dict.fromkeys([*page.links, *page.loaded]):
            if reason := _reason(address, path, root, pages):
                yield str(path.relative_to(site)), address, reason


def _reason(address: str, page: Path, root: Path | None, pages: Mapping[Path, Page]) -> str:
    """Return why a link is broken, or an empty text."""
    where, name = urldefrag(address)
    parts = urlsplit(where)
    if parts.scheme or parts.netloc:
        return ""
    target = page
    if parts.path.startswith("/"):
        if root is None:
            return "begins with /, so it works only at the root of a server"
        target = root / unquote(parts.path).lstrip("/")
    elif parts.path:
        target = page.parent / unquote(parts.path)
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "leads to no file"
    target = target.resolve()
    if name and target in pages and unquote(name) not in pages[target].names:
        return f"there is no id {name!r} on that page"
    return ""


def main(site: Path) -> int:
    """Print the broken links; the exit code is 1 if there are any."""
    pages = len(list(site.rglob("*.html")))
    broken = list(broken_links(site.resolve()))
    for page, address, reason in broken:
        print(f"{page}: {address}: {reason}")
    print(f"{len(broken)} broken links on {pages} pages of {site}")
    return 1 if broken or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
