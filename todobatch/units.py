"""Types that name the unit of a number, and functions that show numbers and text to people.

Numbers are plain floats and ints in SI units everywhere else.
"""

from typing import TypeAlias

Seconds: TypeAlias = float
Bytes: TypeAlias = int
Ratio: TypeAlias = float

MOST_SECONDS = 1_000_000_000
"""No limit of time may be longer: some system calls take no larger number."""

_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000") | frozenset(map(chr, range(0x2000, 0x200B)))
"""Spaces that `str.isprintable` counts as unprintable, although they only leave room."""


def show_seconds(seconds: Seconds) -> str:
    """Show a time with three significant digits: ``0.0123`` -> ``'12.3 ms'``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(seconds) >= factor or unit == "µs":
            return f"{_three_digits(seconds / factor)} {unit}"
    raise AssertionError(seconds)  # the loop always returns


def show_bytes(size: float) -> str:
    """Show a size in decimal units: ``14_200_000`` -> ``'14.2 MB'``."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(size) >= factor:
            return f"{_three_digits(size / factor)} {unit}"
    return f"{size:.0f} B"


def show_ratio(ratio: Ratio) -> str:
    """Show a ratio as ``'1.93×'``."""
    return f"{ratio:.2f}×"


def show_count(number: int, one: str, many: str = "") -> str:
    """Show a number with its noun: ``'2,000 blocks'``. `many` is an irregular plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def show_percent(fraction: float) -> str:
    """Show a fraction of one as a percentage: ``0.934`` -> ``'93 %'``."""
    return f"{fraction * 100:.0f} %"


def show_text(text: str, *, keep: str = "\n\t") -> str:
    r"""Show text that may come from anybody: ``'\x1b[2J'`` is shown in five visible characters.

    Escaped as in Python's literals are control characters, which a terminal obeys; characters
    without a width, which hide; and those that change the direction of the text around them.
    The characters in `keep` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep or each in _SPACES
        else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


def _three_digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
