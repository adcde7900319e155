"""Fresh processes that are alike: children of one process that has imported all and run nothing.

Two processes of the same program differ in speed by some percent, for as long as they live. Where
the kernel puts code, heap and stack is drawn anew for each (address space randomisation), and so is
the seed of hashes; caches and branch predictors answer to both (Mytkowicz and others, "Producing
wrong data without doing anything obviously wrong!", 2009; Curtsinger and Berger, "Stabilizer",
2013). A comparison of two processes then compares two draws.

Forks of one process share its draw. So the samples of a block come from one nursery an interpreter:
what is compared is alike in all but what is compared. The next block has a nursery, and a draw, of
its own: no verdict rests on one layout. And the imports are paid for once a block.
"""

import os
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from typing import Literal

from todobatch.errors import MeasurementError
from todobatch.lab.interpreters import Interpreter
from todobatch.units import Seconds

START_TIMEOUT_S: Seconds = 60.0
STDERR_KEPT = 2_000  # bytes


class Nursery:
    """A process of one interpreter that bears others. Used by one thread."""

    def __init__(
        self,
        interpreter: Interpreter,
        environment: Mapping[str, str],
        role: Literal["sample", "side"] = "sample",
    ) -> None:
        self._interpreter = interpreter
        self._dead: MeasurementError | None = None
        """Why it bears no more, once it has died or an answer of it was not read."""
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_TIMEOUT_S)
        try:
            self._process = subprocess.Popen(
                [str(interpreter.executable), "-m", "todobatch.child.nursery", role],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=dict(environment),
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
        self.close = weakref.finalize(self, _close, self._control, self._process)
        """End it; its children end with it."""

    def bear(self, *fds: int) -> "Child":
        """A child that also gets these file descriptors.

        Raises MeasurementError when the nursery itself has died.
        """
        stdin_reader, stdin_writer = os.pipe()
        stderr_reader, stderr_writer = os.pipe()
        try:
            pid = int(self._ask(b"fork", stdin_reader, stderr_writer, *fds))
        except BaseException:
            os.close(stdin_writer)
            os.close(stderr_reader)
            raise
        finally:
            os.close(stdin_reader)
            os.close(stderr_writer)
        return Child(self, pid, stdin_writer, stderr_reader)

    def wait(self, pid: int, timeout: Seconds) -> int | None:
        """How a child ended (as `subprocess.Popen.returncode`); None when it has not, in time."""
        answer = self._ask(f"wait {pid} {timeout}".encode())
        return None if answer == "alive" else int(answer)

    def _ask(self, request: bytes, *fds: int) -> str:
        """Its answer, a line. Raises MeasurementError when it has died."""
        if self._dead is not None:
            raise self._dead
        said = b""
        try:
            socket.send_fds(self._control, [request], fds)
            while not said.endswith(b"\n"):
                if not (more := self._control.recv(64)):
                    break
                said += more
        except TimeoutError:
            said = b""
            self._dead = self._error(f"said nothing for {START_TIMEOUT_S:.0f} s")
        except OSError:
            said = b""
        except BaseException:  # Ctrl-C: what it answers now would be taken for another answer
            self._dead = self._error("was interrupted")
            raise
        if said.endswith(b"\n"):
            return said.decode().strip()
        if self._dead is None:
            self._dead = self._gone()
        self._process.kill()
        raise self._dead

    def _gone(self) -> MeasurementError:
        self._process.kill()
        _, printed = self._process.communicate()
        last = printed[-STDERR_KEPT:].decode(errors="replace").strip().splitlines()[-1:]
        return self._error(
            f"ended with code {self._process.returncode}" + "".join(f": {line}" for line in last)
        )

    def _error(self, what: str) -> MeasurementError:
        return MeasurementError(
            f"the process that bears samples {what}",
            place=f"interpreter {self._interpreter.spec}",
            remedy="if it could not import something, look for modules of yours with the name of "
            "one of Python's; otherwise measure again, and look whether something kills it "
            "(memory, limits)",
        )


def _close(control: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    control.close()
    try:
        process.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()


class Child:
    """One process, in a process group of its own."""

    def __init__(self, nursery: Nursery, pid: int, stdin: int, stderr: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.stdin = FileIO(stdin, "w")
        self.stderr = FileIO(stderr, "r")
        self.returncode: int | None = None

    def wait(self, timeout: Seconds) -> int | None:
        """Its exit code once it has ended, a signal's number below 0; None when time ran out."""
        if self.returncode is None:
            self.returncode = self._nursery.wait(self.pid, timeout)
        return self.returncode

    def end(self) -> bool:
        """End it with its whole group, workers that outlived it included; raises nothing.

        Gives whether it was still alive, as far as a nursery that still lives can tell.
        """
        try:
            hung = self.wait(0.0) is None
        except MeasurementError:
            hung = False
        with suppress(ProcessLookupError, PermissionError):  # the usual end: nobody is left in it
            os.killpg(self.pid, signal.SIGKILL)
        self.stdin.close()
        self.stderr.close()
        begun = time.monotonic()
        with suppress(MeasurementError):
            while self.wait(1.0) is None and time.monotonic() - begun < START_TIMEOUT_S:
                pass
        return hung
