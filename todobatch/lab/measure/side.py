"""One of the two processes that `versus` compares, driven from the controller.

::

    controller ── the spec, one line of JSON; then a byte a turn ──► standard input of the process
    controller ◄── what it saw when warm; then a line of JSON a turn ── a pipe of its own
"""

import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from todobatch.child.turns import SideSpec
from todobatch.errors import MeasurementError
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.measure.nursery import Child, Nursery
from todobatch.lab.measure.sample import END_TIMEOUT_S, STDERR_KEPT, gist, how_it_ended
from todobatch.lab.store.schema import Cell
from todobatch.units import Seconds

TURN_TIMEOUT_S: Seconds = 120.0
"""A side that has not finished a turn by then is ended. Warming up may take four times as long."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a side reports about one turn."""

    wall_s: Seconds
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
    reader, writer = os.pipe()
    try:
        try:
            child = nursery.bear(writer)
        finally:
            os.close(writer)
        try:
            yield Side(child, reader, spec, cell, interpreter)
            child.stdin.close()  # it ends by itself, and removes its temporary files
            child.wait(END_TIMEOUT_S)
        finally:
            child.end()
    finally:
        os.close(reader)


class Side:
    """A process that takes turns. Every method raises MeasurementError when it fails."""

    def __init__(
        self, child: Child, reader: int, spec: SideSpec, cell: Cell, interpreter: Interpreter
    ) -> None:
        self._child = child
        self._reader = reader
        self._cell = cell
        self._interpreter = interpreter
        self._warm: Turn | None = None
        self._sources = [reader, child.stderr.fileno()]
        self._printed = b""
        self._send(json.dumps(spec).encode() + b"\n")

    def ready(self) -> Turn:
        """Wait until it is warm, and return the last turn of its warm-up."""
        if self._warm is None:
            # Two turns of its own, and as many of the other side's where both share a CPU.
            self._warm = self._answer(4 * TURN_TIMEOUT_S)
        return self._warm

    def turn(self) -> Turn:
        """Run one turn."""
        self.ready()
        self.begin_turn()
        return self.end_turn()

    def begin_turn(self) -> None:
        """Start a turn; `end_turn` waits for it."""
        self._send(b".")

    def end_turn(self) -> Turn:
        """Wait for the turn that `begin_turn` started."""
        return self._answer(TURN_TIMEOUT_S)

    def _send(self, data: bytes) -> None:
        try:
            self._child.stdin.write(data)
        except BrokenPipeError:
            raise self._died() from None

    def _answer(self, timeout_s: Seconds) -> Turn:
        seen = json.loads(self._line(timeout_s))
        turn = Turn(*(seen[field.name] for field in fields(Turn)))
        if turn.failed:
            raise self._error(f"{turn.failed} tasks failed: {turn.error}")
        if turn.gil and self._interpreter.facts["free_threaded_build"]:
            raise self._error("the GIL was on in a free-threaded interpreter")
        return turn

    def _line(self, timeout_s: Seconds) -> bytes:
        """Read a line of its pipe, and keep the end of what it prints meanwhile."""
        line = b""
        end = time.monotonic() + timeout_s
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            ready = select.select(self._sources, [], [], left)[0] if left > 0 else []
            if not ready:
                raise self._too_slow(timeout_s)
            if self._reader in ready:
                if not (more := os.read(self._reader, 65_536)):
                    raise self._died()
                line += more
            elif not (more := os.read(ready[0], 65_536)):
                self._sources.remove(ready[0])
            else:  # or it would wait for ever when it prints more than a pipe holds
                self._printed = (self._printed + more)[-STDERR_KEPT:]
        return line

    def _too_slow(self, timeout_s: Seconds) -> MeasurementError:
        cause = f"{'a turn' if self._warm else 'warming up'} took longer than {timeout_s:.0f} s"
        printed = gist(self._printed)
        return self._error(f"{cause}: {printed}" if printed else cause)

    def _died(self) -> MeasurementError:
        code = self._child.wait(5.0)
        os.set_blocking(self._child.stderr.fileno(), False)
        self._printed += self._child.stderr.read() or b""
        if code is None:
            return self._error("its process closed its pipe and did not end")
        return self._error(how_it_ended(code, self._printed))

    def _error(self, cause: str) -> MeasurementError:
        return MeasurementError(
            cause,
            place=self._cell.key,
            remedy="run this workload alone (todobatch run) and mend what fails, then compare it",
        )
