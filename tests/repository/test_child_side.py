"""Code that runs inside a measured interpreter imports the standard library and psutil only."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.repository.test_import_direction import MODULES, imports_of, is_own_or_standard, top

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter

CHILD_SIDE = sorted(name for name in MODULES if name.startswith("todobatch.child."))
PEERS = "todobatch.child.peers"
PEER_PACKAGES = {"deadpool", "joblib", "loky", "mpire"}
CONTROLLER_ONLY = ("todobatch.lab", "todobatch.cli", "todobatch_reports")
LABS_PACKAGES = ("numpy", "scipy", "pandas", "rich", "typer", "pyperf", "altair", "mkdocs")


def test_the_child_side_imports_the_standard_library_and_psutil_only() -> None:
    """Only `todobatch.probe` imports psutil; functions import pools of other packages."""
    wrong = [
        str(found)
        for module in CHILD_SIDE
        for found in imports_of(module, MODULES[module].read_text("utf-8"))
        if found.target.startswith(CONTROLLER_ONLY)
        or not (
            is_own_or_standard(top(found))
            or (module == PEERS and found.waits and top(found) in PEER_PACKAGES)
        )
    ]
    assert wrong == []


LOAD = """
import importlib, importlib.util, sys

for name in {modules!r}:
    importlib.import_module(name)
assert "psutil" in sys.modules
there = [name for name in {packages!r} if importlib.util.find_spec(name) is not None]
assert not there, there
print("loaded")
"""


@pytest.mark.interpreters
def test_the_child_side_loads_where_no_package_of_the_lab_is(
    each_python: "Interpreter", tmp_path: Path
) -> None:
    from todobatch.lab.interpreters import worker_environment

    script = LOAD.format(modules=["todobatch.probe", *CHILD_SIDE], packages=LABS_PACKAGES)
    done = subprocess.run(
        [each_python.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        env=worker_environment(each_python),
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "loaded\n"), done.stderr
