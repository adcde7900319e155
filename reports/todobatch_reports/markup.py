"""How text of a run gets into a page: as text, whatever is in it.

A page is Markdown with HTML in it. Only `Html` is put into it as it is. In everything else, each
character that could be markup becomes a character reference such as ``&#42;``. A reference means
the same in Markdown, in HTML and in a quoted attribute, and it is markup in none of them. So one
function serves all three, and no template chooses how to escape.
"""

import json
import re
from typing import Any, Self

from markupsafe import Markup

from todobatch.files import short_name
from todobatch.units import show_text

# ASCII's punctuation without % ( ) , - . / ; which mean nothing within a line. At the start of one,
# a dash or a number begins a list, and spaces begin code.
_SPECIAL = re.compile(r"[\t\n!-$&'*+:<-@\[-`{-~]|^[ -]|^\d(?=\d*\.\s)")


class Html(Markup):
    """HTML of our own. What is put into it by `format`, `join` or ``+`` is escaped.

    Ruff checks that it is made from literals only (rule S704).
    """

    __slots__ = ()

    @classmethod
    def escape(cls, s: object, /) -> Self:
        """Return `Html` as it is, and anything else as text."""
        return cls(s if isinstance(s, Html) else escaped(str(s)))


def escaped(text: str) -> str:
    r"""Return text for Markdown, HTML or a quoted attribute: ``'a*b'`` -> ``'a&#42;b'``.

    Characters that nobody could see are shown as in `show_text`, such as ``'\x00'``.
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", show_text(text))


def script_value(value: Any) -> str:
    """Return `value` as a JavaScript literal, which cannot end a script element around it."""
    text = json.dumps(value, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(specification: Any) -> Any:
    """Return a chart's specification with all text in it as `show_text` shows it."""
    if isinstance(specification, str):
        return show_text(specification)
    if isinstance(specification, dict):
        return {name: shown(value) for name, value in specification.items()}
    if isinstance(specification, list):
        return [shown(value) for value in specification]
    return specification


def address(text: str) -> str:
    """Return a name for use in an id, a link or a file name; no two texts share one."""
    return short_name(text, "A-Za-z0-9.-")
