"""One of the two processes that `versus` compares, driven from the controller.

::

    controller ── its spec; then a message for each turn ──────────────► side (a nursery's child)
    controller ◄── its last warm-up turn; then an event for each turn ── side
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from todobatch.child.turns import SideSpec
from todobatch.errors import MeasurementError
from todobatch.ipc.child_process import ChildProcess
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure.nursery import END_TIMEOUT_S, Nursery, explain_end, shorten
from todobatch.lab.plan.alone import run_command
from todobatch.lab.store.schema import Cell
from todobatch.units import Seconds

TURN_TIMEOUT_S: Seconds = 120.0
"""A side whose turn takes longer is ended. Warming up may take four times as long."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a side reports about one turn."""

    wall_s: Seconds
    cpu_s: Seconds | None
    """None if the turn waited for anything but its CPU."""
    tasks: int
    failed: int
    error: str | None
    """The first task's error, if one failed."""
    digest: str
    gil: bool
    """Whether the GIL was on in any worker."""


@contextmanager
def open_side(
    nursery: Nursery, spec: SideSpec, cell: Cell, interpreter: Interpreter
) -> Iterator["Side"]:
    """Start a side, and end it with the block. Raises MeasurementError."""
    with nursery.child() as child:
        yield Side(child, spec, cell, interpreter)
        child.close(END_TIMEOUT_S)  # it ends by itself, so that it removes its temporary files


class Side:
    """A process that takes turns. Every method raises MeasurementError when it fails."""

    def __init__(
        self, child: ChildProcess, spec: SideSpec, cell: Cell, interpreter: Interpreter
    ) -> None:
        self._child = child
        self._spec = spec
        self._cell = cell
        self._interpreter = interpreter
        self._warm: Turn | None = None
        child.send(spec)

    def ready(self) -> Turn:
        """Wait until the side has warmed up, and return the last turn of its warm-up."""
        if self._warm is None:
            # Warming up takes two turns, and four where both sides share a CPU.
            self._warm = self._answer(4 * TURN_TIMEOUT_S)
        return self._warm

    def turn(self) -> Turn:
        """Run one turn."""
        self.ready()
        self.begin_turn()
        return self.end_turn()

    def begin_turn(self) -> None:
        """Start a turn; `end_turn` waits for it."""
        self._child.send("turn")

    def end_turn(self) -> Turn:
        """Wait for the turn that `begin_turn` started."""
        return self._answer(TURN_TIMEOUT_S)

    def _answer(self, timeout_s: Seconds) -> Turn:
        try:
            seen = self._child.next_event(timeout_s)
        except TimeoutError:
            cause = f"{'a turn' if self._warm else 'warming up'} took longer than {timeout_s:.0f} s"
            printed = shorten(self._child.printed)
            raise self._error(f"{cause}: {printed}" if printed else cause) from None
        if seen is None:
            self._child.wait(END_TIMEOUT_S)
            raise self._error(f"its process {explain_end(self._child)}")
        turn = Turn(*(seen[field.name] for field in fields(Turn)))
        if turn.failed:
            raise self._error(f"{turn.failed} tasks failed: {turn.error}")
        if turn.gil and self._interpreter.facts["free_threaded_build"]:
            raise self._error("the GIL was on in a free-threaded interpreter")
        return turn

    def _error(self, cause: str) -> MeasurementError:
        return MeasurementError(
            cause,
            place=self._cell.key,
            remedy="run this workload alone, fix what fails, then compare it: "
            + run_command(self._cell, self._spec.source),
        )
