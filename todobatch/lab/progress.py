"""How the lab reports what it is doing. The lab prints nothing: the caller passes a `Progress`.

`todobatch.cli.views.console` has the one that shows a bar on a terminal and lines in a log.
"""

from typing import Protocol


class Progress(Protocol):
    """Receives messages and steps, from one thread."""

    def message(self, text: str) -> None:
        """Show a line that stays."""

    def warn(self, text: str) -> None:
        """Show a line that stays, even if the user wants no messages."""

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        """Show what is being done now, in place of the step before.

        `text` names the step: a log gets one line when a new `text` arrives, and another now and
        then in a long step. `done` and `total` are in any one unit; `total` is None where it is
        unknown. `detail` may change with every call, and a terminal shows it beside `text`.
        """


class Silent:
    """A `Progress` that shows nothing."""

    def message(self, text: str) -> None:
        """Drop a message."""

    def warn(self, text: str) -> None:
        """Drop a warning."""

    def step(
        self, text: str, done: float = 0.0, total: float | None = None, detail: str = ""
    ) -> None:
        """Drop a step."""
