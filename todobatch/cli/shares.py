"""Shares as options have them: ``3%`` or ``0.03``."""

import math
import re

from todobatch.errors import UsageError


def share_of(text: str, option: str) -> float:
    """``'3%'``, ``'3 %'`` or ``'0.03'`` as a fraction. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text, re.ASCII)
    limit = math.nan
    if found:
        limit = float(found[1]) / 100 if found[2] else float(found[1])
    if not found or not math.isfinite(limit) or (not found[2] and limit >= 1):
        raise UsageError(
            f"{text!r} is no share", place=option, remedy="write it as 3% or 0.03, and not below 0"
        )
    return limit
