"""Where tasks come from: one file a format, each read as a stream, and a generator of seeded tasks.

A broken record is reported by file and line and left out; it never ends the reading by itself. The
mapping from each format to `Task` is in docs/reference/formats.md.
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
