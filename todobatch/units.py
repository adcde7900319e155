"""Types that name the unit of a number, and functions that show numbers as text.

Numbers are plain floats and ints in SI units everywhere else.
"""

from typing import TypeAlias

Seconds: TypeAlias = float
Bytes: TypeAlias = int
Ratio: TypeAlias = float

MOST_SECONDS = 1_000_000_000
"""No limit of time may be longer: some system calls take no larger number."""


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


def _three_digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
