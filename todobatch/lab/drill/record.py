"""Records what a drilled process reports, and how it ends."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from todobatch.units import Seconds

End: TypeAlias = Literal["finished", "unavailable", "broke", "died", "hung"]
"""How a process ended. broke: by an exception; died: by a signal; hung: killed by the drill."""


@dataclass(slots=True)
class Record:
    """The reports of one process. Filled by one thread."""

    done: set[int] = field(default_factory=set)
    """Tasks with a result."""
    failed: dict[int, str] = field(default_factory=dict)
    """Task -> the error that it was reported with."""
    unexpected: dict[int, str] = field(default_factory=dict)
    """Task -> why its result is wrong."""
    times_reported: "Counter[int]" = field(default_factory=Counter)
    """Task -> how many times it was reported, as done or as failed."""
    settled: dict[int, Seconds] = field(default_factory=dict)
    """Task -> when it was first reported, by the monotonic clock of the system."""
    struck: Seconds | None = None
    """When the fault first struck, by the same clock; None when it never did."""
    counted: tuple[int, int] | None = None
    """The coordinator's own count of tasks done and failed; None if it did not finish."""
    left_over: int = 0
    """Processes that lived on after the coordinator was killed."""
    ended: End = "finished"
    why: str = ""
    """Why the process did not finish; empty if it did."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Record an event of `todobatch.child.drill`."""
        match event["event"]:
            case "done":
                self.done.update(event["tasks"])
                self._settle(event)
            case "failed":
                self.failed.update(dict.fromkeys(event["tasks"], event["error"]))
                self._settle(event)
            case "unexpected":
                self.unexpected.update(dict.fromkeys(event["tasks"], event["error"]))
            case "report":
                self.counted = (event["done"], event["failed"])
            case "unavailable":
                self.ended, self.why = "unavailable", event["reason"]
            case "broke":
                self.ended, self.why = "broke", event["error"]

    def end(self, ended: End, why: str) -> None:
        """Set how the process ended, unless it has reported that itself."""
        if self.ended == "finished":
            self.ended, self.why = ended, why

    def _settle(self, event: Mapping[str, Any]) -> None:
        self.times_reported.update(event["tasks"])
        for task in event["tasks"]:
            self.settled.setdefault(task, event["at"])
