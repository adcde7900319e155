"""The class of every command: help in groups of options, and errors that name the options."""

import re
from typing import Any

from typer.core import TyperCommand
from typer.exceptions import TyperException

from todobatch.cli.shared.errors import in_options
from todobatch.errors import TodobatchError
from todobatch.units import show_text


class Command(TyperCommand):
    """A command whose help groups its options, and whose errors name them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. An error about one of them is shown as text, whatever it contains."""
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            error.message = show_text(error.message)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Its errors name options (``--retries``), not parameters."""
        try:
            return super().invoke(ctx)
        except TodobatchError as error:
            for part in ("cause", "place", "remedy"):
                setattr(error, part, in_options(getattr(error, part), self.params))
            if re.fullmatch(r"`\w+`", error.place):  # not an option of this command: say nothing
                error.place = ""
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help of arguments and options, in groups by their ``rich_help_panel``.

        Typer groups them only with Rich, which takes 0.2 s to import: too long for help.
        """
        for heading, records in self.option_groups(ctx).items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def option_groups(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Return the name and help of each argument and option, by the heading of its group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx)
            if record is not None:
                kind = "Arguments" if each.param_type_name == "argument" else "Options"
                heading = getattr(each, "rich_help_panel", None) or kind
                groups.setdefault(heading, []).append(record)
        if (options := groups.pop("Options", None)) is not None:  # --help, and what has no group
            groups["Options"] = options
        return groups
