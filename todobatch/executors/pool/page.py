"""The page: shared memory in which a worker records which message, batch and task it is running.

    worker  writes ──► ACCEPTED, RUNNING, SINCE, TASK ──► read by the caller
    caller  writes ──► LAST, LAST_OF, flags           ──► read by the worker

The caller reads the page when a worker dies or is late, and to withdraw messages for idle workers.
`Page.lock` guards `ACCEPTED`, `LAST`, `LAST_OF`, the flags, and each step of `RUNNING` from one
batch of a message to the next. So either the worker runs a message, or the caller withdraws it. The
other writes need no lock: numbers of 8 bytes are stored whole.
"""

import fcntl
import mmap
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from todobatch.units import Seconds


class Page:
    """What one worker is doing, as 8-byte numbers in memory that it shares with its caller.

    `file` is the descriptor of a file of `SIZE` bytes. Between processes the lock is a lock on that
    file (fcntl(2)), which ends with the process that holds it. Such a lock does not work within one
    process. There `token` gives both ends of a pipe that holds one byte: reading it takes the lock.
    """

    SIZE = mmap.PAGESIZE
    ACCEPTED, RUNNING, SINCE, LAST_OF, LAST, TASK, FLAGS = 0, 1, 2, 3, 4, 5, 8
    """The positions of the numbers: the message accepted last, the present step, and its start. Of
    message `LAST_OF` the worker runs the batches up to `LAST`. `TASK` is the present task's place
    in its batch, from 0. From `FLAGS` on, a flag for each message records whether it was
    withdrawn."""
    NUMBER_OF_FLAGS = 64
    IDLE, UNPICKLING, SENDING, PICKLING = 0, -1, -2, -3
    """Values of `RUNNING`; a positive value is the batch's place in the message, from 1. In
    unpickling, pickling and sending, any batch of the message may be the cause of a death."""
    NO_TASK = -1
    """The value of `TASK` outside of tasks, and where the worker does not record them."""

    def __init__(self, file: int, token: tuple[int, int] | None = None) -> None:
        self._file = file
        self._token = token
        if sys.version_info >= (3, 13):  # without a descriptor of its own, which has a low number
            self._map = mmap.mmap(file, self.SIZE, trackfd=False)
        else:
            self._map = mmap.mmap(file, self.SIZE)
        self._numbers = memoryview(self._map).cast("q")
        self._times = memoryview(self._map).cast("d")
        self.progress = None if token is not None else self._numbers[self.TASK : self.TASK + 1]
        """Where a worker process writes `TASK`. None in this process, where nothing survives the
        crash of a task."""

    @contextmanager
    def lock(self, *, blocking: bool = True) -> Iterator[bool]:
        """Hold the lock; yields false when it is held elsewhere and `blocking` is false."""
        held = self._acquire(blocking=blocking)
        try:
            yield held
        finally:
            if held:
                self._release()

    def _acquire(self, *, blocking: bool) -> bool:
        if self._token is not None:
            there = self._token[0]
            return bool(blocking or _is_readable(there)) and bool(os.read(there, 1))
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _release(self) -> None:
        if self._token is not None:
            os.write(self._token[1], b".")
        else:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    # Called by the worker.

    def accept(self, message: int) -> bool:
        """Begin a message. Returns false when the caller has withdrawn it."""
        with self.lock():
            self._numbers[self.ACCEPTED] = message
            if self._numbers[self._flag(message)]:
                return False
            self.begin(self.UNPICKLING)
            return True

    def begin(self, place: int) -> float:
        """Record the worker's next step, and return the time (`time.perf_counter`)."""
        self._times[self.SINCE] = now = perf_counter()
        self._numbers[self.TASK] = self.NO_TASK
        self._numbers[self.RUNNING] = place
        return now

    def begin_next(self, message: int, place: int) -> float | None:
        """Begin another batch of a message. Returns None when the caller has withdrawn it."""
        with self.lock():
            if self._numbers[self.LAST_OF] == message and place > self._numbers[self.LAST]:
                return None
            return self.begin(place)

    # Called by the caller.

    def clear_flag(self, message: int) -> None:
        """Clear the flag of a new message: an earlier message may have set it."""
        self._numbers[self._flag(message)] = 0

    def withdraw(self, message: int) -> bool:
        """Withdraw a message. Returns false when the worker has accepted it already."""
        with self.lock(blocking=False) as held:
            if not held or self.accepted() >= message:
                return False
            self._numbers[self._flag(message)] = 1
            return True

    def withdraw_rest(
        self, message: int, batches: int, *, least: int, over_s: Seconds
    ) -> tuple[int, bool] | None:
        """Withdraw waiting batches from the running message, which has `batches` batches.

        If the present batch has run for `over_s` seconds, all waiting batches are withdrawn.
        Otherwise half are, if 2 × `least` or more wait. Returns the place of the last batch that
        stays, and whether the present one has run that long. Returns None if none was withdrawn.
        """
        with self.lock(blocking=False) as held:
            accepted, place, since = self.running()
            if not held or accepted != message or place < 1:
                return None
            stuck = perf_counter() - since >= over_s
            if not stuck and batches - place < 2 * least:
                return None
            last = place if stuck else place + (batches - place) // 2
            self._numbers[self.LAST], self._numbers[self.LAST_OF] = last, message
            return last, stuck

    def accepted(self) -> int:
        """The number of the message that the worker accepted last."""
        return self._numbers[self.ACCEPTED]

    def running(self) -> tuple[int, int, Seconds]:
        """Return the message accepted last, the value of `RUNNING`, and when it was set."""
        return self._numbers[self.ACCEPTED], self._numbers[self.RUNNING], self._times[self.SINCE]

    def task(self) -> int | None:
        """Return the present task's place in its batch, from 0; None if it is not known."""
        place = self._numbers[self.TASK]
        return None if place == self.NO_TASK else place

    def close(self) -> None:
        """Release the memory."""
        if self.progress is not None:
            self.progress.release()
        self._numbers.release()
        self._times.release()
        self._map.close()

    def _flag(self, message: int) -> int:
        return self.FLAGS + message % self.NUMBER_OF_FLAGS


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()  # select(2) accepts descriptors below 1,024 only
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
