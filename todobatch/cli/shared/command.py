"""The class of every command: help in groups of options, and errors that name the options."""

import re
from typing import Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from todobatch.cli.shared.errors import in_options
from todobatch.errors import TodobatchError, UsageError, did_you_mean
from todobatch.units import show_text

_KINDS = {"integer": "a whole number", "number": "a number"}
"""What a value must be, by a word of Typer's error."""


class Command(TyperCommand):
    """A command whose help groups its options, and whose errors name them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments. Raises UsageError for a value that its option does not take."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            wanted = _wanted(error.message)
            if wanted is None or error.param is None:
                error.message = show_text(error.message)
                raise
            name = error.param.name or ""
            values, _, _ = self.make_parser(ctx).parse_args(given)
            cause = in_options(f"`{name}` takes {wanted}", self.params)
            value = str(values.get(name))
            near = did_you_mean(value, wanted.replace(" or ", ", ").split(", "))
            raise UsageError(f"{cause}, not {value!r}{near}") from None
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


def _wanted(message: str) -> str | None:
    """Return what an option takes, from Typer's error about a value: its choices, or a number."""
    if found := re.search(r"is not one of (.+?)\.?$", message):
        *others, last = found[1].replace("'", "").split(", ")
        return f"{', '.join(others)} or {last}"
    return next((kind for word, kind in _KINDS.items() if word in message), None)
