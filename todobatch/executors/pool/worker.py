"""A pool's records about one worker: its host, its messages and its buffers.

Only the caller's thread uses the classes here. The worker's own records are on the page.
"""

import math
import os
import socket
import tempfile
from abc import ABC, abstractmethod
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar

from todobatch.executors.pool.page import Page
from todobatch.executors.pool.surroundings import Surroundings
from todobatch.executors.pool.transport import MOST_BYTES, READY, move_link
from todobatch.executors.stats import WorkerStats
from todobatch.files import move_high
from todobatch.model import Batch
from todobatch.units import Seconds

STUCK_S: Seconds = 0.005
"""A batch is stuck after this many seconds. At the end of the input, the batches behind it in its
message are then sent to idle workers."""
SHARED_S: Seconds = 0.001
"""If twice this many seconds of work wait in a message, an idle worker gets half of them."""
MOST_UNACCEPTED = Page.NUMBER_OF_FLAGS - 4
"""A worker has at most this many messages that it has not accepted, because each needs a flag."""


class Host(ABC):
    """The process or subinterpreter in which a worker runs, as its pool sees it.

    Making a host starts it. For the arguments see `PoolExecutor.start_host`.
    """

    in_this_process: ClassVar[bool] = False
    """Whether the worker shares this process; `Page` then needs a lock of another kind."""
    link: socket.socket
    """The caller's end of the worker's socket."""
    page: Page
    label: str = ""
    """The worker's name in results; empty until it is known, which is when it is ready at last."""
    sentinel: int | None = None
    """A descriptor that becomes readable at the host's end. If None, the socket's end shows it."""

    def __init__(
        self, processor: bytes, surroundings: Surroundings, cpu: int | None, *, keep_rows: bool
    ) -> None:
        # The block closes what is open when a step fails, such as when no descriptors are left.
        with ExitStack() as opened:
            with tempfile.TemporaryFile() as new:
                new.write(bytes(Page.SIZE))  # in full, so that a full disk is an error and no crash
                new.flush()
                file = move_high(os.dup(new.fileno()))
            opened.callback(os.close, file)
            self._token = self._new_token(opened) if self.in_this_process else None
            self.page = Page(file, self._token)
            opened.callback(self.page.close)
            self.link, worker_link = map(move_link, socket.socketpair())
            opened.enter_context(self.link)
            opened.enter_context(worker_link)
            self.link.setblocking(False)
            self._surroundings = surroundings
            self._start(worker_link, file, processor, cpu, keep_rows=keep_rows)
            self._opened = opened.pop_all()

    @staticmethod
    def _new_token(opened: ExitStack) -> tuple[int, int]:
        """Open a pipe that holds one byte, for the page's lock."""
        reader, writer = map(move_high, os.pipe())
        opened.callback(os.close, reader)
        opened.callback(os.close, writer)
        os.write(writer, b".")
        return reader, writer

    @abstractmethod
    def _start(
        self, link: socket.socket, file: int, processor: bytes, cpu: int | None, *, keep_rows: bool
    ) -> None:
        """Start the host; `link` is its end of the socket, `file` the page's descriptor."""

    @abstractmethod
    def kill(self) -> bool:
        """End the host at once. Returns false when that is impossible.

        A host that cannot be killed is abandoned, so `close` does not wait for it.
        """

    @abstractmethod
    def how_it_ended(self) -> str:
        """Wait for the host's end and describe it: ``'was killed (SIGKILL)'``."""

    @abstractmethod
    def close(self) -> None:
        """End the host if it has not ended, and release all that it holds."""


@dataclass(slots=True, eq=False)
class Message:
    """Batches that are sent to a worker together. Their results come back in the same order."""

    batches: list[Batch]
    data: bytes
    done: int = 0
    """How many batches of the message have a result."""

    def remaining(self) -> int:
        """The number of batches without a result."""
        return len(self.batches) - self.done


@dataclass(slots=True, eq=False)
class PoolWorker:
    """The caller's records about one worker, and the buffers of its socket."""

    host: Host
    link: socket.socket
    page: Page
    started: Seconds
    cpu: int | None
    """The CPU that the worker stays on, or None for any."""
    ready: bool = False
    sent: int = 0
    """The number of the newest message; the first is 1."""
    messages: dict[int, Message] = field(default_factory=dict)
    """Messages with missing results by their number, the oldest first."""
    abandoned: set[int] = field(default_factory=set)
    """Numbers of messages in flight whose results are ignored, because their run ended early."""
    inbox: bytearray = field(default_factory=bytearray)
    unfilled: memoryview | None = None
    """The part of the inbox that a large message has not filled yet."""
    outbox: deque[memoryview] = field(default_factory=deque)
    overdue: tuple[int, int] | None = None
    """Message and place of the batch that overran its deadline, if the worker was killed for it."""
    broken: bool = False
    """Whether other bytes than messages came through the socket, so the worker was stopped."""
    busy: Seconds = 0.0
    """Seconds that the worker spent on batches in the present run."""
    heard: Seconds = 0.0
    """When bytes last went through the socket, in either direction."""

    def step_began(self, attended: Seconds) -> Seconds | None:
        """Return when the worker's deadline began to count, or None when it has nothing to do.

        Where a worker waits for its caller, it is the latest of: the step's begin, the last bytes,
        and `attended`, the end of the caller's last long pause.
        """
        _, running, since = self.page.running()
        if running not in {Page.IDLE, Page.SENDING}:
            return since
        if running == Page.IDLE and not self.messages:
            return None
        return max(since, self.heard, attended)

    def sends(self, size: int, number: int, first: int, end: int) -> bool:
        """Return whether the head of a message to the caller may be the worker's own.

        User code may have written to the socket of its worker. For the arguments see `transport`.
        """
        message = self.messages.get(number)
        if number == READY:
            place_fits = not self.ready and first == end == 0
        elif message is None:  # it was abandoned
            place_fits = True
        else:
            place_fits = first == message.done and end <= len(message.batches)
            place_fits = place_fits and (first < end or first == end == 0)
        return place_fits and number <= self.sent and size <= MOST_BYTES

    def stop_broken(self) -> bool:
        """Stop the worker, because other bytes than messages came from it; returns false."""
        self.broken = True
        with suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)  # ends a subinterpreter, which cannot be killed
        self.host.kill()
        return False

    def how_it_ended(self) -> str:
        """Wait for the worker's end and describe it."""
        ending = self.host.how_it_ended()
        if self.broken:
            return "wrote to its socket what is not a result, and was stopped"
        return ending

    def queued(self) -> int:
        """The number of messages in flight."""
        return len(self.messages) + len(self.abandoned)

    def remaining(self) -> int:
        """The number of batches without a result in the oldest message."""
        return next((message.remaining() for message in self.messages.values()), 0)

    def holds_back(self) -> bool:
        """Return whether batches of its oldest message wait behind the one that it runs."""
        number = next(iter(self.messages), None)
        if number is None:
            return False
        accepted, place, _ = self.page.running()
        if accepted == number and place > 0:
            return len(self.messages[number].batches) > place
        return self.messages[number].remaining() > 1

    def has_room(self) -> bool:
        """Return whether more messages can be sent to the worker."""
        unaccepted = self.sent - self.page.accepted()
        return self.ready and not self.overdue and unaccepted < MOST_UNACCEPTED

    def stats(self, begun: Seconds) -> WorkerStats:
        """Return what the worker did in the run, or since its own start if that is later."""
        wall = perf_counter() - max(begun, self.started)
        busy = min(self.busy, wall)  # an abandoned message may have begun in an earlier run
        return WorkerStats(self.host.label, busy, wall - busy)

    def withdraw(self) -> Message | None:
        """Withdraw the newest message; returns None when the worker has accepted it."""
        newest = next(reversed(self.messages), None)
        if newest is None or not self.page.withdraw(newest):
            return None
        return self.messages.pop(newest)

    def withdraw_rest(self, batch_s: Seconds | None) -> list[list[Batch]]:
        """Withdraw batches of the running message; a batch takes about `batch_s` seconds.

        Returns the messages to send: one for each batch if the present one takes long, otherwise
        one for all. See `Page.withdraw_rest`.
        """
        number = next(iter(self.messages), 0)
        if not number or self.messages[number].remaining() < 2:
            return []
        batches = self.messages[number].batches
        least = math.ceil(SHARED_S / (batch_s or SHARED_S))
        withdrawn = self.page.withdraw_rest(number, len(batches), least=least, over_s=STUCK_S)
        if withdrawn is None:
            return []
        last, stuck = withdrawn
        rest = batches[last:]
        del batches[last:]
        return [[batch] for batch in rest] if stuck else [rest] if rest else []
