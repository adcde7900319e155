"""Starts a child process, exchanges messages with it, ends it, and describes its end.

::

    parent: ChildProcess                              child: ParentProcess
                                    nothing ───► 0    standard input is empty
             discarded, or the parent's own ◄─── 1    standard output
      printed:    kept, or the parent's own ◄─── 2    standard error
      send:        socket, lines of JSON ───────► c   receive; at its end the parent has ended
      next_event:  pipe, lines of JSON ◄───────── e   send

A child is started by `subprocess` (`ChildProcess.start`) or forked by a process that has done its
imports (`ChildProcess.forked`). Both have the same channels. A started child finds the numbers c
and e in its last two arguments. No process that a child starts inherits c or e.

Guarantees:

- The child leads a process group of its own. `end` kills that whole group.
- Ctrl-C reaches the parent only.
- A child that sends anything but events is killed, and counts as ended.
- The end of a child is detected even if a grandchild holds its pipe open.
- A child that calls `ParentProcess.end_with_parent` ends when its parent does, even by SIGKILL.

One thread uses a `ChildProcess`. The child's side is in `todobatch.ipc.parent_process`.
"""

import json
import os
import reprlib
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeAlias

from todobatch.errors import TodobatchError
from todobatch.ipc.decoding import to_json
from todobatch.runtime import describe_end
from todobatch.units import Seconds

Event: TypeAlias = dict[str, Any]
"""A message from a child: a JSON object whose `event` names its kind."""

PRINTED_KEPT = 65_536
"""Of what a child prints to standard error, at most this many bytes at the end are kept."""
KILLED_TIMEOUT_S: Seconds = 60.0
"""`ChildProcess.end` waits at most this many seconds for a process that it has killed."""
SLICE_S: Seconds = 0.25
"""A wait lasts at most this many seconds, so a stop of this process costs no more of a timeout.

Where there is no pidfd_open(2), the end of a child is noticed after at most this time.
"""
_CHUNK = 65_536
_MOST_READS = 16


def last_lines(printed: bytes) -> str:
    """Return printed text on one line, without the frames of a traceback."""
    lines = printed.decode(errors="replace").splitlines()
    kept = [line.strip() for line in lines if not line.startswith((" ", "Traceback "))]
    return " / ".join(filter(None, kept))


class Forker(Protocol):
    """A process that forks children on request."""

    def fork(self, descriptors: Sequence[int]) -> int:
        """Fork a child that gets these descriptors, and return its process id."""

    def wait(self, pid: int, timeout_s: Seconds) -> int | None:
        """Return a child's exit code, or None when it has not ended in time."""


class ChildProcess:
    """A child process, made by `start` or `forked`. Leaving its ``with`` block ends it."""

    def __init__(
        self, pid: int, wait: Callable[[Seconds], int | None], channels: "_Channels"
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """The exit code, or minus a signal's number; None before the child has ended."""
        self._wait = wait
        self._channels = channels
        channels.watch(pid)
        self.was_killed = False
        """Whether `end` had to kill the child."""

    @classmethod
    def start(
        cls,
        command: Sequence[object],
        environment: Mapping[str, str],
        *,
        folder: Path | None = None,
        channels: bool = True,
        output: Literal["keep", "show"] = "keep",
        hold_interrupt: bool = False,
    ) -> Self:
        """Start a process. Raises OSError when the command cannot be run.

        `command` is text and paths, `environment` the whole environment of the process, and
        `folder` its working folder. Without `channels` the process gets no further arguments, and
        can neither receive nor send. With `output` "keep", the end of its standard error is kept in
        `printed`; with "show", both its outputs go to this process's standard error. With
        `hold_interrupt` it starts with SIGINT blocked, and must unblock it when it has a handler.
        """
        with _opened(talking=channels, keeping=output == "keep") as (parent_ends, child_ends):
            talk = child_ends[:2] if channels else ()
            mask = signal.pthread_sigmask(
                signal.SIG_BLOCK, {signal.SIGINT} if hold_interrupt else ()
            )
            try:
                process = subprocess.Popen(
                    [*map(str, command), *map(str, talk)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if output == "keep" else 2,
                    stderr=child_ends[-1] if output == "keep" else None,
                    env=dict(environment),
                    cwd=folder,
                    pass_fds=talk,
                    start_new_session=True,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        def wait(timeout_s: Seconds) -> int | None:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout_s)
            return None

        return cls(process.pid, wait, parent_ends)

    @classmethod
    def forked(cls, forker: Forker) -> Self:
        """Have `forker` fork a child, and return the child. Raises what `forker` raises."""
        with _opened(talking=True, keeping=True) as (parent_ends, child_ends):
            pid = forker.fork(child_ends)
        return cls(pid, lambda timeout_s: forker.wait(pid, timeout_s), parent_ends)

    def send(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send the child a message, with open descriptors if given. After its end, do nothing.

        `message` is a dataclass, or anything else that `to_json` converts.
        """
        control = self._channels.control
        assert control is not None
        with suppress(OSError):  # `next_event` detects the child's end
            data = json.dumps(to_json(message)).encode() + b"\n"
            if descriptors:
                socket.send_fds(control, [data], descriptors)
            else:
                control.sendall(data)

    def next_event(self, timeout_s: Seconds | None = None) -> Event | None:
        """Wait for the child's next event and return it, or None when no more will come.

        No more will come when the child has closed its channel or has ended. An unfinished line is
        dropped. A child that sent a line that is not an event is killed. Raises TimeoutError when
        no event came within `timeout_s` seconds. Time for which this process was stopped does not
        count.
        """
        channels, waited, ended = self._channels, 0.0, False
        while True:
            if (event := channels.whole_event()) is not None:
                return event
            if not channels.open_for_events:
                self._end_if_foreign()
                return None
            left = SLICE_S if timeout_s is None else max(0.0, timeout_s - waited)
            pause = 0.0 if ended else min(SLICE_S, left)
            begun = time.monotonic()
            if channels.read(pause):
                ended = False
            elif ended:
                return None
            elif timeout_s is not None and left == 0:
                raise TimeoutError
            else:  # when it has ended, read once more, because it may have sent its last event
                ended = self.poll() is not None
            waited += min(pause, time.monotonic() - begun)

    def available_events(self) -> list[Event]:
        """Return the events that have come in, without waiting."""
        self._channels.read_all()
        events = list(iter(self._channels.whole_event, None))
        self._end_if_foreign()
        return events

    @property
    def printed(self) -> bytes:
        """Return the last bytes that the child has printed to standard error."""
        self._channels.read_all()
        return self._channels.printed

    def poll(self) -> int | None:
        """Return the child's exit code, or None while it runs."""
        return self.wait(0.0)

    def wait(self, timeout_s: Seconds) -> int | None:
        """Wait for the child's end and return its exit code; None if it runs on."""
        if self.returncode is None:
            self.returncode = self._wait(timeout_s)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send the child a signal. The rest of its group gets none."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def close(self, timeout_s: Seconds) -> None:
        """Close the control channel, so that the child ends; kill it if it runs on."""
        self._channels.close_control()
        try:
            with suppress(TodobatchError):  # the forker has ended
                self.wait(timeout_s)
        finally:
            self.end()

    def end(self) -> bool:
        """Kill the child and its whole group, and return whether the child was running.

        Workers that outlived the child are killed as well. A second call does nothing.
        """
        if self._channels.closed:
            return False
        try:
            running = self.poll() is None
        except TodobatchError:  # the forker has ended
            running = False
        self.was_killed = running
        end_group(self.pid)
        begun = time.monotonic()
        with suppress(TodobatchError):
            while self.wait(1.0) is None and time.monotonic() - begun < KILLED_TIMEOUT_S:
                pass
        self._channels.close()
        return running

    @property
    def sent_foreign(self) -> bool:
        """Whether the child was killed because it sent a line that is not an event."""
        return self._channels.foreign is not None

    def how_it_ended(self) -> str:
        """Describe the child's end: "was killed (SIGKILL)", "ended with exit code 3" and so on."""
        if self._channels.foreign is not None:
            line = reprlib.repr(self._channels.foreign.decode(errors="replace"))
            return f"sent {line}, which is not an event, and was killed"
        if self.was_killed or self.returncode is None:
            return "did not end"
        return describe_end(self.returncode)

    def _end_if_foreign(self) -> None:
        if self.sent_foreign:
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()


def end_group(group: int) -> None:
    """Kill every process of a group; nothing happens when there is none."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class _Channels:
    """The parent's ends of a child's channels; None or -1 for one that the child lacks."""

    def __init__(self, control: socket.socket | None, events: int, printed: int) -> None:
        self.control = control
        self.printed = b""
        self.closed = False
        self.foreign: bytes | None = None
        """The line that came in place of an event. User code of the child may have written it."""
        self._events = events
        self._unread = b""
        self._pidfd = -1
        self._selector = selectors.PollSelector()
        for descriptor in {events, printed} - {-1}:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def watch(self, pid: int) -> None:
        """Let `read` return at the end of this process, where there is pidfd_open(2)."""
        with suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    @property
    def open_for_events(self) -> bool:
        """Whether the child may send more events."""
        return self._events in self._selector.get_map()

    def whole_event(self) -> Event | None:
        """Remove and return the first whole line that was read; None without one.

        A line that is not an event closes the channel of events.
        """
        line, newline, rest = self._unread.partition(b"\n")
        if not newline:
            return None
        self._unread = rest
        event: Event | None = None
        with suppress(ValueError, RecursionError):
            event = json.loads(line)
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            return event
        self.foreign, self._unread = line, b""
        if self.open_for_events:
            self._selector.unregister(self._events)
            os.close(self._events)
        return None

    def read(self, timeout_s: Seconds) -> bool:
        """Wait for data and read it; returns whether events, or the end of the channel, came.

        The end of the process ends the wait too.
        """
        any_events = False
        for key, _ in self._selector.select(timeout_s):
            ended = key.fd == self._pidfd
            if not (chunk := b"" if ended else os.read(key.fd, _CHUNK)):
                any_events = any_events or key.fd == self._events
                self._selector.unregister(key.fd)
                os.close(key.fd)
            elif key.fd == self._events:
                self._unread += chunk
                any_events = True
            else:
                self.printed = (self.printed + chunk)[-PRINTED_KEPT:]
        return any_events

    def read_all(self) -> None:
        """Read the available data without waiting."""
        for _ in range(_MOST_READS):
            if not self._selector.get_map() or not self._selector.select(0):
                return
            self.read(0)

    def close_control(self) -> None:
        """Close the control channel: the child reads its end."""
        if self.control is not None:
            self.control.close()

    def close(self) -> None:
        """Read the available data, and close all channels."""
        self.read_all()
        self.closed = True
        self.close_control()
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fd)
            os.close(key.fd)


@contextmanager
def _opened(*, talking: bool, keeping: bool) -> Iterator[tuple[_Channels, list[int]]]:
    """Open channels to a child, and close the child's ends after the block.

    Yields the parent's ends and the child's: control and events if `talking`, standard error if
    `keeping`. An exception in the block closes the parent's ends too.
    """
    control, events, printed, child_ends = None, -1, -1, []
    with ExitStack() as parent_on_error, ExitStack() as child_always:

        def pipe() -> tuple[int, int]:
            reader, writer = os.pipe()
            parent_on_error.callback(os.close, reader)
            child_always.callback(os.close, writer)
            return reader, writer

        if talking:
            control, other = socket.socketpair()
            parent_on_error.enter_context(control)
            child_always.enter_context(other)
            events, writer = pipe()
            child_ends += [other.fileno(), writer]
        if keeping:
            printed, writer = pipe()
            child_ends.append(writer)
        yield _Channels(control, events, printed), child_ends
        parent_on_error.pop_all()
