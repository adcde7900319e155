"""Write the reference of all options from the program: ``python tests/tools/command_reference.py``.

It writes docs/reference/options.md: the help of each command, as `--help` prints it.
"""

from collections.abc import Iterator
from pathlib import Path

import typer
from typer.core import TyperGroup
from typer.main import get_command

from todobatch.cli.app import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "options.md"
WIDTH = 88
HEAD = """# Options

Every command with its options and defaults, as `--help` prints it. JSON keys and exit codes are on
[Command line](command-line.md). `python tests/tools/command_reference.py` writes this page.
"""


def page() -> str:
    """Return the page as it should be now."""
    whole = get_command(app)
    assert isinstance(whole, TyperGroup)
    return "\n".join([HEAD, *_commands(whole, typer.Context(whole, info_name="todobatch"))])


def _commands(group: TyperGroup, above: typer.Context) -> Iterator[str]:
    for name in group.list_commands(above):
        command = group.get_command(above, name)
        assert command is not None
        context = typer.Context(
            command, info_name=name, parent=above, terminal_width=WIDTH, max_content_width=WIDTH
        )
        said = command.get_help(context).rstrip()
        yield f"## `{context.command_path}`\n\n```text\n{said}\n```\n"
        if isinstance(command, TyperGroup):
            yield from _commands(command, context)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
