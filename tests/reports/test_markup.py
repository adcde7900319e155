"""Text of a run on its way into a page: whatever it is, it stays text."""

import json
import re
from collections.abc import Iterable
from html.parser import HTMLParser
from typing import Any

import markdown
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.tools import hostile
from todobatch.units import show_text
from todobatch_reports import pages
from todobatch_reports.markup import Html, address, escaped, script_value, shown
from todobatch_reports.site import ASSETS

PACKAGE = ROOT / "reports" / "todobatch_reports"
PLACES = {
    "heading": "## TEXT { #id }",
    "heading without an id": "## TEXT",
    "line": "TEXT",
    "start": "TEXT and more",
    "end": "more and TEXT",
    "emphasis": "**TEXT** and *TEXT*",
    "item": "- TEXT\n- TEXT",
    "paragraph of HTML": '<p class="a">TEXT <strong>TEXT</strong> <code>TEXT</code></p>',
    "table of HTML": "<div><table><tr><td>TEXT</td></tr></table></div>",
    "table of Markdown": "| a | b |\n| --- | --- |\n| TEXT | x |",
    "link": '<p><a href="#x">TEXT</a></p>',
    "attribute": '<p title="TEXT">x</p>',
}
ANY = st.text(
    st.characters(codec="utf-8") | st.sampled_from("\n\r\t \\`*_{}[]()#+-.!|<>&\"'~^=:$@")
)


class Parsed(HTMLParser):
    """The text, the tags with their attributes, and the titles of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, list[str]]] = []
        self.titles: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))
        self.titles += [value or "" for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


def markdown_of_the_site() -> markdown.Markdown:
    asked = yaml.safe_load((ASSETS / "mkdocs.yml").read_text("utf-8"))["markdown_extensions"]
    given_to: dict[str, Any] = {}
    for each in asked:
        given_to |= {each: {}} if isinstance(each, str) else each
    return markdown.Markdown(extensions=list(given_to), extension_configs=given_to)


def words(text: str) -> str:
    return " ".join(show_text(text).split())


def check(place: str, texts: Iterable[str]) -> None:
    made = markdown_of_the_site()

    def page(text: str) -> Parsed:
        return Parsed(made.reset().convert(PLACES[place].replace("TEXT", escaped(text))))

    plain = page("x")
    for text in texts:
        found = page(text)
        assert found.tags == plain.tags
        assert words(text) in words(found.titles[0] if place == "attribute" else found.text)


@pytest.mark.parametrize("place", PLACES)
def test_text_stays_text_wherever_it_is_put(place: str) -> None:
    check(place, [*hostile.ALL, *hostile.HARMLESS])


@settings(deadline=None)
@given(place=st.sampled_from(sorted(PLACES)), text=ANY)
def test_no_text_becomes_markup(place: str, text: str) -> None:
    check(place, [f"x{text}x", f"{text}x"])


def test_what_is_put_into_html_is_escaped_unless_it_is_html() -> None:
    bold = Html("<b>{}</b>").format("<i>*")
    assert bold == "<b>&#60;i&#62;&#42;</b>"
    assert Html("{}{}").format(bold, 1) == "<b>&#60;i&#62;&#42;</b>1"
    assert Html(", ").join(["<i>", bold]) == "&#60;i&#62;, <b>&#60;i&#62;&#42;</b>"
    assert Html("<p>") + "<i>" == "<p>&#60;i&#62;"


@pytest.mark.parametrize(
    "template",
    [
        "{{ x }}",
        "{{ [x, x] | join(', ') }}",
        "{{ x | lower }}",
        "{{ x ~ '' }}",
        "{{ '%s' | format(x) }}",
    ],
)
def test_a_template_escapes_whatever_a_filter_makes(template: str) -> None:
    made = pages.environment().from_string(template).render(x="<b>*")
    assert made.replace("&#60;b&#62;&#42;", "").strip(", ") == ""


def test_only_one_module_makes_html_out_of_text() -> None:
    asks = re.compile(r"markupsafe|autoescape|\| *safe\b|html\.escape")
    found = {
        str(path.relative_to(PACKAGE))
        for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.md"))
        if asks.search(path.read_text("utf-8"))
    }
    assert found == {"markup.py", "pages/__init__.py"}


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)))
def test_a_value_in_a_script_is_itself_and_cannot_end_it(value: object) -> None:
    made = script_value(value)
    assert json.loads(made) == value
    assert made.isascii()
    assert not re.search("[<>&\n]", made)


def test_text_in_a_chart_is_shown_with_its_invisible_characters_escaped() -> None:
    assert shown({"a": ["\x1b", 1, None, {"b": "\u202ex"}]}) == {
        "a": ["\\x1b", 1, None, {"b": "\\u202ex"}]
    }


@given(ANY, ANY)
def test_an_address_is_plain_and_no_two_texts_share_one(one: str, other: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,60}", address(one))
    assert (address(one) == address(other)) == (one == other)


def test_an_address_is_the_name_itself_where_that_is_plain() -> None:
    assert address("io-wait") == "io-wait"
    assert address("3.14t") == "3.14t"
    assert re.fullmatch(r"a-b-[0-9a-f]{12}", address("a/b"))
    assert len({address(name) for name in ("a/b", "a:b", "a_b", "a-b", "a b")}) == 5
