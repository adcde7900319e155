"""Makes processes that are alike: forks of one that has imported everything and run nothing.

Two processes of one program differ in speed by some percent for as long as they live. The kernel
places code, heap and stack at random in each (address space randomisation), and Python chooses the
seed of hashes at random. Caches and branch predictors depend on both. So a comparison of two
processes also compares two memory layouts. Sources: Mytkowicz and others, "Producing wrong data
without doing anything obviously wrong!", 2009; Curtsinger and Berger, "Stabilizer", 2013.

Forks of one process share its layout. The samples of a block are forks of one nursery for each
interpreter, so they differ only in what is compared. Every block has new nurseries with new
layouts, so no verdict rests on one layout. Imports run once in each block.

::

    controller ── fork, with the child's ends of its channels; wait for a child ──► nursery
    controller ◄── the child's process id; its exit code ───────────────────────── nursery
"""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from todobatch.errors import MeasurementError
from todobatch.ipc.child_process import ChildProcess, Event, last_lines
from todobatch.lab.interpreters import Interpreter
from todobatch.lab.store.machine import without_folders
from todobatch.units import Seconds

START_TIMEOUT_S: Seconds = 60.0
"""The longest that a nursery may take to answer, its start included."""
END_TIMEOUT_S: Seconds = 5.0
"""A process that has finished its work is killed if it does not end within this time."""
MESSAGE_KEPT = 1_000
"""The number of characters that are kept of the last output of a process."""


class Nursery:
    """A process of one interpreter that forks others. Used by one thread."""

    def __init__(
        self,
        interpreter: Interpreter,
        environment: Mapping[str, str],
        role: Literal["sample", "turns"] = "sample",
    ) -> None:
        """Start the process. Its children run `todobatch.child.sample` or `todobatch.child.turns`.

        Raises OSError when the interpreter cannot be run.
        """
        self._interpreter = interpreter
        self._failure: MeasurementError | None = None
        """Why it cannot fork: it has ended, or one of its answers was not read."""
        self._process = ChildProcess.start(
            [interpreter.executable, "-P", "-m", "todobatch.child.nursery", role], environment
        )
        self.pid = self._process.pid
        self.close = weakref.finalize(self, self._process.close, START_TIMEOUT_S)
        """End the nursery and its children."""

    def child(self) -> ChildProcess:
        """Fork a child. Raises MeasurementError when the nursery has ended."""
        return ChildProcess.forked(self)

    def fork(self, descriptors: Sequence[int]) -> int:
        """Fork a child (see `Forker.fork`). Raises MeasurementError when the nursery has ended."""
        pid: int = self._ask("fork", descriptors)["pid"]
        return pid

    def wait(self, pid: int, timeout_s: Seconds) -> int | None:
        """Wait for a child (see `Forker.wait`). Raises MeasurementError without the nursery."""
        code: int | None = self._ask({"wait": pid, "timeout_s": timeout_s})["code"]
        return code

    def _ask(self, request: Any, descriptors: Sequence[int] = ()) -> Event:
        if self._failure is not None:
            raise self._failure
        try:
            self._process.send(request, descriptors)
            answer = self._process.next_event(START_TIMEOUT_S)
        except TimeoutError:
            self._failure = self._error(f"did not answer for {START_TIMEOUT_S:.0f} s")
        except BaseException:  # on Ctrl-C, the next request would read this answer
            self._failure = self._error("was interrupted")
            raise
        else:
            if answer is not None:
                return answer
            self._process.wait(END_TIMEOUT_S)
            self._failure = self._error(explain_end(self._process))
        self._process.end()
        raise self._failure

    def _error(self, what: str) -> MeasurementError:
        return MeasurementError(
            f"the parent process of the samples {what}",
            place=f"interpreter {self._interpreter.spec}",
            remedy="measure again; if it ends again, rename modules of yours that have the name of "
            "a standard module, or free memory",
        )


def explain_end(process: ChildProcess) -> str:
    """Return how a process ended and what it printed last, on one line without folders."""
    printed = shorten(process.printed)
    return f"{process.how_it_ended()}{': ' if printed else ' and printed nothing'}{printed}"


def shorten(printed: bytes) -> str:
    """Return the end of a printed text on one line, without a traceback's frames and folders."""
    return without_folders(last_lines(printed))[-MESSAGE_KEPT:]
