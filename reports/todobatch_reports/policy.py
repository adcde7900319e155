"""What the report's pages may load and run: a policy that browsers enforce.

Text of a run is escaped (`todobatch_reports.markup`). If some got through as markup nevertheless,
the policy keeps it from running scripts and from reaching any other server.
"""

import hashlib
import os
import re
from pathlib import Path

import material

SOURCES = (
    "default-src 'none'",
    # Firefox does not count a page that was opened from a disk as 'self'.
    "script-src 'self' file:",
    # Charts have their height and colours in style attributes.
    "style-src 'self' file: 'unsafe-inline'",
    # The theme's icons are data.
    "img-src 'self' file: data:",
    # The search loads its index, in a worker.
    "connect-src 'self'",
    "worker-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
)
POLICY = "; ".join(SOURCES)
HEAD = re.compile(r"<head\b[^>]*>")
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
JINJA = re.compile(r"\{\{.*?\}\}")


def protect(site: Path, report: Path, ours: Path) -> None:
    """Give each page in the folder `report` the policy, and move inline scripts into `ours`.

    A policy without ``'unsafe-inline'`` forbids scripts within a page, and the theme has some. On
    the report's pages only those of the theme are moved: another one would come from the run. On
    all other pages of the site every inline script is moved, so that a server may set such a
    policy for them too. Data blocks (``<script type=…>``) are not run and stay.
    """
    folder = ours / "inline"
    folder.mkdir(parents=True, exist_ok=True)
    known = theme_scripts()
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    for page in site.rglob("*.html"):
        of_report = page.parent == report
        up = os.path.relpath(folder, page.parent).replace(os.sep, "/")

        def moved(found: re.Match[str], up: str = up, of_report: bool = of_report) -> str:
            code = found[1]
            if of_report and not known.fullmatch(code):
                return found[0]
            name = f"{hashlib.sha256(code.encode()).hexdigest()[:12]}.js"
            (folder / name).write_text(code, "utf-8")
            return f'<script src="{up}/{name}"></script>'

        text = INLINE_SCRIPT.sub(moved, page.read_text("utf-8"))
        if of_report:
            text = HEAD.sub(lambda found: found[0] + meta, text, count=1)
        page.write_text(text, "utf-8")


def theme_scripts() -> re.Pattern[str]:
    """Return what matches the theme's own inline scripts, whatever address a page has."""
    templates = Path(material.__file__).parent / "templates" / "partials" / "javascripts"
    codes = [
        code
        for template in sorted(templates.glob("*.html"))
        for code in INLINE_SCRIPT.findall(template.read_text("utf-8"))
    ]
    return re.compile("|".join("[./]*".join(map(re.escape, JINJA.split(code))) for code in codes))
