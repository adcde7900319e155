"""The interpreters that are measured: find them, install them, and set up what they run in."""

from todobatch.lab.interpreters.cache import cache_dir
from todobatch.lab.interpreters.discovery import (
    Interpreter,
    Survey,
    differences,
    find,
    find_all,
    survey,
)
from todobatch.lab.interpreters.installer import check_installable, install
from todobatch.lab.interpreters.specs import DEFAULT_INTERPRETERS, PINS, SPECS
from todobatch.lab.interpreters.support import worker_environment

__all__ = [
    "DEFAULT_INTERPRETERS",
    "PINS",
    "SPECS",
    "Interpreter",
    "Survey",
    "cache_dir",
    "check_installable",
    "differences",
    "find",
    "find_all",
    "install",
    "survey",
    "worker_environment",
]
