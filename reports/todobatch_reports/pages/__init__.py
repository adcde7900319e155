"""Make the pages of the report from assets/templates and the figures of a run."""

import jinja2

from todobatch.units import show_count, show_percent, show_seconds
from todobatch_reports.frames import Figures
from todobatch_reports.markup import Html
from todobatch_reports.pages import dashboard, data, method, readiness, scaling
from todobatch_reports.pages.base import TEMPLATES, Pages, shared_context

# File, title in the navigation, and what fills its template.
PAGES = (
    ("index.md", "Dashboard", dashboard.context),
    ("scaling.md", "Scaling", scaling.context),
    ("readiness.md", "Production readiness", readiness.context),
    ("method.md", "Method", method.context),
    ("data.md", "Data", data.context),
)
NAMES = tuple((file, title) for file, title, _ in PAGES)


def make(figures: Figures, *, alone: bool = True) -> Pages:
    """Write every page of the report; `alone` says that the site has no other pages."""
    pages = Pages()
    templates = environment()
    shared = {**shared_context(figures), "alone": alone}
    for file, _, context in PAGES:
        template = templates.get_template(file)
        pages.texts[file] = template.render(**shared, **context(figures, pages))
    return pages


def environment() -> jinja2.Environment:
    """Return the environment of the templates, which escapes every value."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        # Jinja escapes for HTML only, and the pages are Markdown too. `finalize` gets each value.
        autoescape=False,  # noqa: S701
        finalize=Html.escape,
        undefined=jinja2.StrictUndefined,  # a missing name is an error
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(seconds=show_seconds, percent=show_percent, count=show_count)
    return made
