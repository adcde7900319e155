"""Which interpreters are known by name, and exactly which source each one is built from.

To add one: a line in `PINS`. The sum is that of the upstream archive ``Python-VERSION.tar.xz``.
"""

from dataclasses import dataclass

DEFAULT_INTERPRETERS = ("3.14", "3.14t")
"""The pair that is measured when nobody asks for another."""

OLDEST_PYTHON = (3, 11)
"""What todobatch itself needs."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One exact source archive."""

    version: str  # as Python writes it: '3.15.0rc2'
    sha256: str

    @property
    def archive(self) -> str:
        """Its name at python.org."""
        return f"Python-{self.version}.tar.xz"


PINS = {
    "3.13": Pin("3.13.15", "1e66a7945a48390ee4c2a4268a0e4185884059a13c4aab6d148aa208deea4a76"),
    "3.14": Pin("3.14.7", "3b48dac8fb59f62eaa67ac83c1eb12bda1b7a08406dd286e252c11a66be27f81"),
    "3.15": Pin("3.15.0rc2", "8d93af5eaaaea5adfd41bd786a7ba3f03f2ad1ab57c6a65e0b963deab91d5ad7"),
}

SPECS = tuple(f"{minor}{t}" for minor in PINS for t in ("", "t"))
"""'3.13', '3.13t', '3.14', …: what ``todobatch interpreters install`` can get."""
