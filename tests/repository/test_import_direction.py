"""The direction of imports that docs and design promise, read from the source with `ast`.

    units -> errors, files -> runtime, cgroup, model -> ipc
      -> sources, processors, collectors, probe -> executors -> coordinator -> todobatch, testing
      -> child, job -> lab -> todobatch_reports -> cli

A module may import from its own room and from rooms further left.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[2]

LEFT_TO_RIGHT = (
    ("todobatch.units",),
    ("todobatch.errors", "todobatch.files"),
    ("todobatch.runtime", "todobatch.cgroup", "todobatch.model"),
    ("todobatch.ipc",),
    ("todobatch.sources", "todobatch.processors", "todobatch.collectors", "todobatch.probe"),
    ("todobatch.executors",),
    ("todobatch.coordinator",),
    ("todobatch", "todobatch.testing"),  # the public names, gathered
    ("todobatch.child", "todobatch.job"),  # what runs in a measured interpreter
    ("todobatch.lab",),
    ("todobatch_reports",),
    ("todobatch.cli",),
    ("todobatch.__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(LEFT_TO_RIGHT) for room in rooms}

# What runs on a measured interpreter, in subinterpreters too. probe.py stays in the parent.
TASK_PATH = {
    room for room, rank in RANK.items() if rank <= RANK["todobatch"] and room != "todobatch.probe"
}
# A third-party import that is allowed, inside a function only: module -> what.
WAITING_IMPORTS = {"todobatch.sources": {"pytodotxt"}}
# Not loaded by `todobatch --help`, which must answer at once.
HEAVY = {
    *("altair", "mkdocs", "numpy", "pandas", "psutil", "pyperf", "rich.progress", "scipy"),
    *("asyncio", "concurrent.futures", "multiprocessing", "sqlite3"),
}


class Import(NamedTuple):
    """One import as it stands in a module."""

    module: str
    line: int
    target: str
    waits: bool  # it stands in a function, so it happens when that is called

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def modules() -> dict[str, Path]:
    found = {}
    for base, package in ((ROOT, "todobatch"), (ROOT / "reports", "todobatch_reports")):
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Yield every import in a module's source, with absolute names."""
    is_package = module in MODULES and MODULES[module].name == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]

    def walk(node: ast.AST, waits: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(module, child.lineno, name.name, waits)
            elif isinstance(child, ast.ImportFrom):
                up = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*up, child.module or ""]).rstrip(".")
                base = base if child.level else child.module or ""
                for name in child.names:
                    whole = f"{base}.{name.name}"
                    yield Import(module, child.lineno, whole if whole in MODULES else base, waits)
            elif not is_for_types_only(child):
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, waits or function)

    return walk(ast.parse(source), waits=False)


def is_for_types_only(node: ast.AST) -> bool:
    """Return whether a statement is ``if TYPE_CHECKING:``, whose imports are never run."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def all_imports() -> list[Import]:
    return [i for m, path in MODULES.items() for i in imports_of(m, path.read_text("utf-8"))]


def room(module: str) -> str:
    """Return the room of a module: the longest room name that its name begins with."""
    if module in {"todobatch", "todobatch_reports"}:
        return module
    fitting = [r for r in RANK if r != "todobatch" and f"{module}.".startswith(f"{r}.")]
    assert fitting, f"{module} is in no room: give it a place in LEFT_TO_RIGHT"
    return max(fitting, key=len)


def goes_back(found: Import) -> bool:
    if found.target.partition(".")[0] not in {"todobatch", "todobatch_reports"}:
        return False
    here, there = room(found.module), room(found.target)
    return here != there and RANK[there] >= RANK[here]


def top(found: Import) -> str:
    return found.target.partition(".")[0]


def is_own_or_standard(name: str) -> bool:
    return name in sys.stdlib_module_names or name in {"todobatch", "todobatch_reports"}


def test_every_module_has_a_room() -> None:
    assert len({room(module) for module in MODULES}) > 5


def test_imports_go_left_to_right_and_never_back() -> None:
    backwards = [str(found) for found in all_imports() if goes_back(found)]
    assert backwards == []


@pytest.mark.parametrize(
    ("module", "source", "verdict"),
    [
        ("todobatch.units", "from todobatch.model import Task", True),
        ("todobatch.sources.csv", "from todobatch.processors import base", True),
        ("todobatch.executors.threads", "def f():\n    import todobatch.lab.store.schema", True),
        ("todobatch.executors.threads", "from ..lab import schema", True),
        ("todobatch.executors.threads", "from .base import Executor", False),
        ("todobatch.lab.measure.sample", "from todobatch import coordinator", False),
        (
            "todobatch.lab.measure.sample",
            "if TYPE_CHECKING:\n    from todobatch.cli import run",
            False,
        ),
    ],
)
def test_an_import_that_goes_back_is_seen(module: str, source: str, verdict: bool) -> None:
    assert any(goes_back(found) for found in imports_of(module, source)) is verdict


def test_the_task_path_imports_the_standard_library_only() -> None:
    foreign = [
        str(found)
        for found in all_imports()
        if room(found.module) in TASK_PATH
        and not is_own_or_standard(top(found))
        and not (found.waits and top(found) in WAITING_IMPORTS.get(room(found.module), set()))
    ]
    assert foreign == []


def test_only_probe_imports_psutil() -> None:
    importers = {found.module for found in all_imports() if top(found) == "psutil"}
    assert importers == {"todobatch.probe"}


def test_the_command_line_imports_nothing_heavy_before_a_command_runs() -> None:
    script = "import sys, todobatch.cli.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert "typer" in loaded
    assert loaded & HEAVY == set()


LOAD_IN_A_SUBINTERPRETER = """
import sys
from concurrent import interpreters

inside = interpreters.create()
inside.exec('''
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
foreign = {{"psutil", "numpy", "typer", "rich", "pyperf"}} & set(sys.modules)
assert not foreign, foreign
''')
inside.close()
print("loaded", "gil" if sys._is_gil_enabled() else "no gil")
"""


@pytest.mark.interpreters
def test_the_task_path_loads_inside_a_subinterpreter(each_python: "Interpreter") -> None:
    names = sorted(module for module in MODULES if room(module) in TASK_PATH)
    # Nothing but todobatch itself is there to be imported: no worker's environment.
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [each_python.executable, "-c", LOAD_IN_A_SUBINTERPRETER.format(modules=names)],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
    )
    gil = "no gil" if each_python.facts["free_threaded_build"] else "gil"
    assert (done.returncode, done.stdout.split("\n")[0]) == (0, f"loaded {gil}"), done.stderr
