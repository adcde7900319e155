"""What a pool's caller knows of one worker: what it runs in, its messages and its buffers.

Only the caller's thread uses the classes here. What the worker itself writes is on the page.
"""

import math
import socket
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter

from todobatch.executors.pool.page import Page
from todobatch.executors.stats import WorkerStats
from todobatch.model import Batch
from todobatch.units import Seconds

STUCK_S: Seconds = 0.005
"""A worker may be idle at the end of the input while another one runs a batch for this long. Then
the batches that wait behind it in its message go to others."""
SHARED_S: Seconds = 0.001
"""A message with at least twice this work waiting is shared with an idle worker, half and half."""
MOST_UNACCEPTED = Page.NUMBER_OF_FLAGS - 4
"""A worker has at most this many messages that it has not accepted: each needs a flag."""


class Host(ABC):
    """What a worker runs in, a process or a subinterpreter, as its pool sees it."""

    link: socket.socket
    """The caller's end of the worker's socket."""
    page: Page
    label: str
    """The worker's name in results; set when the worker is ready."""
    sentinel: int | None = None
    """A descriptor that becomes readable when the host has ended. None means that the end of the
    socket says so."""

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
    """Batches that are sent to a worker together; results come back in the same order."""

    batches: list[Batch]
    data: bytes
    done: int = 0
    """The number of its batches that have given a result."""

    def remaining(self) -> int:
        """The number of batches without a result."""
        return len(self.batches) - self.done


@dataclass(slots=True, eq=False)
class PoolWorker:
    """What the caller knows of one worker, and the buffers of its socket."""

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
    """Messages that lack a result, oldest first, by number."""
    abandoned: set[int] = field(default_factory=set)
    """Numbers of messages in flight whose results nobody wants, from a run that was left early."""
    inbox: bytearray = field(default_factory=bytearray)
    unfilled: memoryview | None = None
    """The part of the inbox that a large message has yet to fill."""
    outbox: deque[memoryview] = field(default_factory=deque)
    overdue: tuple[int, int] | None = None
    """Message and place of the batch that ran beyond its deadline, when the worker was killed."""
    busy: Seconds = 0.0
    """Seconds that the worker spent with batches in the present run."""

    def queued(self) -> int:
        """The number of messages in flight."""
        return len(self.messages) + len(self.abandoned)

    def remaining(self) -> int:
        """The number of batches without a result in the oldest message."""
        return next((message.remaining() for message in self.messages.values()), 0)

    def holds_back(self) -> bool:
        """Whether batches of its oldest message wait behind the one that it runs."""
        number = next(iter(self.messages), None)
        if number is None:
            return False
        accepted, place, _ = self.page.running()
        if accepted == number and place > 0:
            return len(self.messages[number].batches) > place
        return self.messages[number].remaining() > 1

    def has_room(self) -> bool:
        """Whether more messages can be sent to it."""
        unaccepted = self.sent - self.page.accepted()
        return self.ready and not self.overdue and unaccepted < MOST_UNACCEPTED

    def stats(self, begun: Seconds) -> WorkerStats:
        """What it did since the run began or, if that is later, since it was started."""
        wall = perf_counter() - max(begun, self.started)
        busy = min(self.busy, wall)  # of an abandoned message only the end is in this run
        return WorkerStats(self.host.label, busy, wall - busy)

    def withdraw(self) -> Message | None:
        """Withdraw the newest message; returns None when the worker has accepted it."""
        newest = next(reversed(self.messages), None)
        if newest is None or not self.page.withdraw(newest):
            return None
        return self.messages.pop(newest)

    def withdraw_rest(self, batch_s: Seconds | None) -> list[list[Batch]]:
        """Withdraw batches of the message that it runs, where a batch takes `batch_s` seconds.

        Returns them as they are to be sent: one by one behind a batch that takes long, otherwise
        all together. See `Page.withdraw_rest`.
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
