"""A fixture that makes the tests' own interpreter one to be drilled."""

import sys

import pytest

from todobatch.lab.interpreters import Interpreter, find


@pytest.fixture(scope="module")
def running() -> Interpreter:
    return find(sys.executable)
