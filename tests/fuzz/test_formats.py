"""Damaged files of every format give an error of todobatch, or are used; never a traceback.

CI tries some hundred inputs. ``python tests/tools/fuzz.py 200000`` tries more, with other seeds.
"""

import contextlib
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.formats import FORMATS
from todobatch.errors import TodobatchError


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_used_or_an_error_of_todobatch(name: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**62))
    def try_one(seed: int) -> None:
        with contextlib.suppress(TodobatchError):
            FORMATS[name](folder, random.Random(f"{name}/{seed}"))

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        try_one()
