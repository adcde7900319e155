"""Errors of the library speak of parameters; the command line shows options in their place."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.conftest import ROOT
from todobatch.cli.app import app
from todobatch.cli.shared.command import Command
from todobatch.cli.shared.errors import ALIASES, in_options
from todobatch.errors import UsageError

GROUP: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = GROUP.commands | GROUP.commands["interpreters"].commands
COMMANDS.pop("interpreters")

# What the library has in backticks that is no option of any command, and what it is.
NO_OPTION = {
    **dict.fromkeys(
        ("digest", "error", "failures", "frame", "partial", "rows", "started", "success"),
        "a field of what a processor of the user's own returns",
    ),
    **dict.fromkeys(("finish", "merge", "summarise"), "a method of such a processor"),
    **dict.fromkeys(("n", "processor", "today"), "a parameter that only Python's callers can pass"),
    "top": "a program, in a remedy of doctor",
}


@pytest.mark.parametrize(
    ("command", "said", "shown"),
    [
        ("run", "`workers`", "--workers"),
        ("run", "`workers=4`", "--workers 4"),
        ("run", 'pass `placement="none"`', "pass --placement none"),
        ("run", "`executor='processes'` with `deadline_s`", "--executor processes with --deadline"),
        ("run", "`watchdog_s`", "--no-progress"),
        ("run", "`strict=True`", "--strict"),
        ("run", "pass `journal=None`", "pass no --journal"),
        ("run", "`baseline=False`", "--no-baseline"),
        ("run", "`file`", "INPUT"),
        ("run", "`nothing` of `the_kind=3`", "`nothing` of `the_kind=3`"),
        ("versus", "`input_file` in `format`", "--input in --input-format"),
        ("bench", "`budget_s`, `input`", "--budget, --input"),
        ("bench", "`workload`, `executor`", "--workloads, --executors"),
        ("show", "`workload`, `workers`", "--workload, `workers`"),
        ("drill", "`peers=False`", "--no-peers"),
    ],
)
def test_a_parameter_is_shown_as_the_option_of_the_command(
    command: str, said: str, shown: str
) -> None:
    assert in_options(said, COMMANDS[command].params) == shown


def test_an_error_leaves_a_command_with_options_in_all_its_parts() -> None:
    def fail(workers: int = 1) -> None:
        raise UsageError("`workers` is 0", place="`workers`", remedy=f"`workers={workers}` or more")

    own = typer.Typer()
    own.command(cls=Command)(fail)
    with pytest.raises(UsageError) as caught:
        own([], standalone_mode=False)
    assert str(caught.value) == "--workers: --workers is 0\n  remedy: --workers 1 or more"


def test_a_place_that_is_not_an_option_of_the_command_is_left_out() -> None:
    def fail() -> None:
        raise UsageError("unknown workload 'x'", place="`workload`", remedy="choose another")

    own = typer.Typer()
    own.command(cls=Command)(fail)
    with pytest.raises(UsageError) as caught:
        own([], standalone_mode=False)
    assert str(caught.value) == "unknown workload 'x'\n  remedy: choose another"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_translates_its_errors(name: str) -> None:
    assert isinstance(COMMANDS[name], Command)


def test_every_parameter_that_an_error_names_is_an_option_of_some_command() -> None:
    known = {each.name.rstrip("_") for command in COMMANDS.values() for each in command.params}
    known |= {name for name, others in ALIASES.items() if known.intersection(others)}
    unknown = {
        f"{path.relative_to(ROOT)}: `{name}`"
        for path in _library()
        for text in _texts(ast.parse(path.read_text("utf-8")))
        for name in re.findall(r"(?<!`)`([a-z][a-z_]*)(?:=[^`]*)?`(?!`)", text)
        if name not in known and name not in NO_OPTION
    }
    assert unknown == set()


def test_a_value_is_quoted_for_a_shell() -> None:
    """A folder may have any name, and a remedy is copied into a shell."""
    said = in_options("`resume=x; touch PWN`", COMMANDS["bench"].params)
    assert said == "--resume 'x; touch PWN'"


def test_every_alias_is_a_parameter_of_some_command() -> None:
    known = {each.name.rstrip("_") for command in COMMANDS.values() for each in command.params}
    assert {name for others in ALIASES.values() for name in others} <= known


def _library() -> list[Path]:
    package = ROOT / "todobatch"
    return [path for path in package.rglob("*.py") if not path.is_relative_to(package / "cli")]


def _texts(module: ast.Module) -> Iterator[str]:
    """Yield every text of a module except docstrings, with X for each inserted value."""
    bare = {
        id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)
    }  # docstrings, also those of attributes
    parts: set[int] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(value) for value in node.values)
            yield "".join(
                str(value.value) if isinstance(value, ast.Constant) else "X"
                for value in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in bare | parts
        ):
            yield node.value
