"""Seconds, bytes, ratios and counts are shown as text."""

import pytest

from todobatch.units import show_bytes, show_count, show_percent, show_ratio, show_seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.00 µs"), (4.2e-6, "4.20 µs"), (0.0123, "12.3 ms"), (1.5, "1.50 s"),
     (123.4, "123 s")],
)  # fmt: skip
def test_seconds_have_three_digits_and_a_fitting_unit(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (14_200_000, "14.2 MB"), (2e9, "2.00 GB")]
)
def test_bytes_are_decimal(size: float, text: str) -> None:
    assert show_bytes(size) == text


def test_ratios_and_fractions() -> None:
    assert show_ratio(1.926) == "1.93×"
    assert show_percent(0.934) == "93 %"


def test_a_count_has_its_noun_in_singular_or_plural() -> None:
    assert show_count(1, "block") == "1 block"
    assert show_count(2_000, "block") == "2,000 blocks"
    assert show_count(0, "process", "processes") == "0 processes"
