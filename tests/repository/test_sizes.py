"""Modules and functions are short, and folders have few files.

Ruff holds the complexity of functions (C901) and the number of their statements (PLR0915).
"""

import ast
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES = 400
FUNCTION_LINES = 60
FILES_IN_A_FOLDER = 12
REASON = "# long:"
"""Begins the comment, above a function or on its first line, that says why it is longer."""
DATA = ("results", "tests/lab/store/golden", "docs/decisions")
"""Folders that hold data or a series: they grow by files on purpose."""


def committed() -> list[Path]:
    """Return every file that git tracks and that still exists, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [Path(name) for name in listed if (ROOT / name).is_file()]


def long_functions(source: str) -> Iterator[tuple[str, int]]:
    """Yield name and length of each function that exceeds the limit without a reason."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        beside = lines[max(first - 2, 0) : node.body[0].lineno]
        if length > FUNCTION_LINES and not any(REASON in line for line in beside):
            yield node.name, length


@pytest.fixture(scope="module")
def python_files() -> list[Path]:
    return [path for path in committed() if path.suffix == ".py"]


def test_no_module_is_longer_than_the_limit(python_files: list[Path]) -> None:
    lengths = {
        str(path): len((ROOT / path).read_text("utf-8").splitlines()) for path in python_files
    }
    assert {name: n for name, n in lengths.items() if n > MODULE_LINES} == {}


def test_a_longer_function_says_why(python_files: list[Path]) -> None:
    found = {
        f"{path}:{name}": length
        for path in python_files
        for name, length in long_functions((ROOT / path).read_text("utf-8"))
    }
    assert found == {}


def test_no_folder_holds_more_files_than_the_limit() -> None:
    folders = Counter(path.parent.as_posix() for path in committed() if path.parts[1:])
    crowded = {
        name: n
        for name, n in folders.items()
        if n > FILES_IN_A_FOLDER and not name.startswith(DATA)
    }
    assert crowded == {}


@pytest.mark.parametrize(
    ("first_line", "reported"),
    [("def f() -> None:", True), ("def f() -> None:  # long: a table of options", False)],
)
def test_a_long_function_is_found_unless_it_gives_a_reason(first_line: str, reported: bool) -> None:
    source = "\n".join([first_line, *["    pass"] * FUNCTION_LINES])
    assert list(long_functions(source)) == ([("f", FUNCTION_LINES + 1)] if reported else [])
