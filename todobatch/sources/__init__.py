"""The sources of tasks: a reader for each file format, and a generator.

Readers yield tasks one at a time. A broken record is reported with its file and line, and reading
continues. See docs/reference/formats.md for how each format maps to `Task`.
"""

from todobatch.sources.base import OnBroken
from todobatch.sources.fields import FieldError, parse_recurrence
from todobatch.sources.generator import REFERENCE_DAY, generate
from todobatch.sources.registry import FORMATS, Format, Source, open_source

__all__ = [
    "FORMATS",
    "REFERENCE_DAY",
    "FieldError",
    "Format",
    "OnBroken",
    "Source",
    "generate",
    "open_source",
    "parse_recurrence",
]
