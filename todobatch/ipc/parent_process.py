"""The child's side of a channel: it receives messages from the parent, and sends events to it."""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from todobatch.files import move_high

_CHUNK = 65_536
_MOST_DESCRIPTORS = 16


class ParentProcess:
    """The parent of this process, with the channels to it.

    One thread receives. Several threads may send, because a lock keeps their lines whole. Both
    channels get high numbers, because user code may write to a low one.
    """

    def __init__(self, control: int, events: int) -> None:
        self.control = move_high(control)
        self.events = move_high(events)
        self.descriptors: list[int] = []
        """The open descriptors that came with messages."""
        self._unread = b""
        self._lock = threading.Lock()

    @classmethod
    def from_arguments(cls) -> Self:
        """Return the parent of a process that `ChildProcess.start` started.

        Unless PYTHONSAFEPATH is set, let modules be imported from the working folder. It comes
        last, because a user may have a ``random.py``.
        """
        control, events = map(int, sys.argv[-2:])
        if not os.environ.get("PYTHONSAFEPATH"):
            with suppress(OSError):  # the folder has been removed
                sys.path.append(str(Path.cwd()))
        return cls(control, events)

    @classmethod
    def after_fork(cls, descriptors: Sequence[int]) -> Self:
        """Set the standard streams of a forked child, and return its parent.

        `descriptors` are those that `Forker.fork` got from `ChildProcess.forked`.
        """
        control, events, printed = descriptors
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor, standard in ((nothing, 0), (nothing, 1), (printed, 2)):
            os.dup2(descriptor, standard)
        os.close(nothing)
        os.close(printed)
        return cls(control, events)

    def receive(self) -> Any:
        """Wait for a message and return it, or None when the parent has ended."""
        while b"\n" not in self._unread:
            if not (more := self._read(take_descriptors=True)):
                return None
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def send(self, event: str, **fields: Any) -> None:
        """Send an event. Nothing happens when the parent no longer reads."""
        data = json.dumps({"event": event, **fields}).encode() + b"\n"
        with self._lock, suppress(BrokenPipeError):
            while data:
                data = data[os.write(self.events, data) :]

    def end_with_parent(self) -> None:
        """Kill this process and its group as soon as the parent ends for any reason.

        A thread reads the channel to notice that, so do not call `receive` any more. If user code
        has closed the channel, the thread looks for the parent once a second.
        """
        parent = os.getppid()

        def watch() -> None:
            reading = True
            while reading or os.getppid() == parent:
                try:
                    if not reading:
                        time.sleep(1.0)
                    elif not self._read():
                        break
                except OSError:
                    reading = False
                except BaseException:  # noqa: S112 - user code can raise one in any thread
                    continue
            os.killpg(0, signal.SIGKILL)

        if os.getpgid(0) == os.getpid():  # never kill a group that another process leads
            threading.Thread(target=watch, name="parent-watch", daemon=True).start()

    def _read(self, *, take_descriptors: bool = False) -> bytes:
        # A file object's lock, held by a waiting thread, would be fatal at Python's exit.
        try:
            if not take_descriptors:
                return os.read(self.control, _CHUNK)
            control = socket.socket(fileno=self.control)
            try:
                data, found, *_ = socket.recv_fds(control, _CHUNK, _MOST_DESCRIPTORS)
            finally:
                control.detach()
            self.descriptors += found
            return data
        except ConnectionError:
            return b""
