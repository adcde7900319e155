"""How a pool and a worker talk: a socket, and a page of memory that both see.

This is the worker's side of `pool.Pool`, for processes and subinterpreters alike: it imports only
what both can import.
"""

import fcntl
import mmap
import os
import pickle
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import IO

from todobatch.executors.base import Worker
from todobatch.executors.pool import wire
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result
from todobatch.units import Seconds

FLUSH_S: Seconds = 0.008
"""Results wait for those of the same message, but no longer than this if batches end meanwhile."""

KEPT_BYTES = 1 << 22
"""A worker receives into the same memory again and again, and keeps no more of it for ever."""

TO_WORKER = struct.Struct("=QQd")  # bytes that follow, message, when it was handed out
FROM_WORKER = struct.Struct("=QQIIdd")  # bytes, message, first batch, end, pickling s, when sent
UP = 0  # the "message" that says that a worker is up, or why it cannot be


class Page:
    """What a worker is doing, in memory that it shares with the caller: numbers of 8 bytes.

    The worker writes `TAKEN`, `RUNNING` and `SINCE`, the caller the flags of messages that it took
    back, and `LAST` of `LAST_OF`: the batch after which the worker is to leave a message's rest to
    others. These, `TAKEN`, and `RUNNING` where it goes on to the next batch of a message, change
    under `lock` only: it decides who gets a message, or its rest. The numbers are stored whole, and
    are right when the worker is dead; while it lives the others are a moment old.

    Between processes the lock is one of the page's file (fcntl(2)), which ends with the process
    that holds it. Within one process that does not work: there the lock is a byte in a pipe, given
    as `token`, its two ends; who has read it holds the lock.
    """

    SIZE = mmap.PAGESIZE
    TAKEN, RUNNING, SINCE, LAST_OF, LAST, FLAGS = 0, 1, 2, 3, 4, 8
    NUMBER_OF_FLAGS = 64
    IDLE, UNPICKLING, SENDING, PICKLING = 0, -1, -2, -3
    """As RUNNING; otherwise the batch's place in the message, from 1. Sending may have to wait for
    the caller: no deadline holds then, and no batch is to blame for its end. While several are
    unpickled, or their results pickled, any of them may be."""

    def __init__(self, file: int, token: tuple[int, int] | None = None) -> None:
        self._file = file
        self._token = token
        self._map = mmap.mmap(file, self.SIZE)
        self._numbers = memoryview(self._map).cast("q")
        self._times = memoryview(self._map).cast("d")

    @contextmanager
    def lock(self, *, blocking: bool = True) -> Iterator[bool]:
        """Hold the lock; false, and nothing held, where it is taken and not waited for."""
        if held := self._acquire(blocking=blocking):
            try:
                yield held
            finally:
                self._release()
        else:
            yield held

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

    def take(self, message: int) -> bool:
        """In the worker: take a message, unless the caller took it back."""
        with self.lock():
            self._numbers[self.TAKEN] = message
            if self._numbers[self._flag(message)]:
                return False
            self.begin(self.UNPICKLING)
            return True

    def begin(self, place: int) -> float:
        """In the worker: say what it does from now on, and give the time."""
        self._times[self.SINCE] = now = perf_counter()
        self._numbers[self.RUNNING] = place
        return now

    def go_on(self, message: int, place: int) -> float | None:
        """In the worker: begin the next batch of a message; None when the rest is taken back."""
        with self.lock():
            if self._numbers[self.LAST_OF] == message and place > self._numbers[self.LAST]:
                return None
            return self.begin(place)

    def take_rest(
        self, message: int, batches: int, *, least: int, over_s: Seconds
    ) -> tuple[int, bool] | None:
        """In the caller: let a message of so many batches end earlier, and give its new last place.

        That is the batch that runs when it has run for `over_s` seconds, and true is given; else
        the middle of what is left, if that is twice `least` batches or more. None, and nothing
        changed, otherwise.
        """
        with self.lock(blocking=False) as held:
            taken, place, since = self.running()
            if not held or taken != message or place < 1:
                return None
            stuck = perf_counter() - since >= over_s
            if not stuck and batches - place < 2 * least:
                return None
            last = place if stuck else place + (batches - place) // 2
            self._numbers[self.LAST], self._numbers[self.LAST_OF] = last, message
            return last, stuck

    def take_back(self, message: int) -> bool:
        """In the caller: whether the worker has not taken it, and now never will."""
        with self.lock(blocking=False) as held:
            if not held or self.taken() >= message:
                return False
            self._numbers[self._flag(message)] = 1
            return True

    def hand_out(self, message: int) -> None:
        """In the caller: clear the flag, which a message long gone may have left."""
        self._numbers[self._flag(message)] = 0

    def taken(self) -> int:
        """The message taken last."""
        return self._numbers[self.TAKEN]

    def running(self) -> tuple[int, int, Seconds]:
        """Message, place in it, and since when."""
        return self._numbers[self.TAKEN], self._numbers[self.RUNNING], self._times[self.SINCE]

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()
        self._times.release()
        self._map.close()

    def _flag(self, message: int) -> int:
        return self.FLAGS + message % self.NUMBER_OF_FLAGS


def _is_readable(descriptor: int) -> bool:
    poll = select.poll()  # select(2) takes no number from 1,024 on
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def reserve(file: IO[bytes]) -> None:
    """Give a page's file its size, on the disk: a hole in it could not be filled on a full one."""
    file.write(bytes(Page.SIZE))
    file.flush()


def serve(
    link: socket.socket,
    page: "Page",
    processor: bytes,
    path: Sequence[str],
    label: str,
    start_method: str,
    *,
    keep_rows: bool,
) -> None:
    """A worker's whole life: say that it is up, then run messages until the socket is closed."""
    try:
        sys.path[:] = path  # before the processor is unpickled, which may need it
        mine = pickle.loads(processor)  # noqa: S301 - our own
        worker = Worker(mine, label, start_method, keep_rows=keep_rows)
    except BaseException as error:
        _send(link, UP, 0, 0, describe_exception(error).encode(), 0.0)
        return
    try:
        _send(link, UP, 0, 0, b"", 0.0)
        head, memory = bytearray(TO_WORKER.size), bytearray()
        while _receive(link, memoryview(head)):
            size, number, handed_out = TO_WORKER.unpack(head)
            if len(memory) < size:
                memory = bytearray(size)
            elif len(memory) > KEPT_BYTES > size:
                memory = bytearray(KEPT_BYTES)
            data = _receive(link, memoryview(memory)[:size])
            if data is not None and page.take(number):
                _work(link, page, worker, number, data, handed_out)
                page.begin(page.IDLE)
    except ConnectionError:
        pass  # the caller has closed the socket: it wants nothing more


def _work(
    link: socket.socket,
    page: Page,
    worker: Worker,
    number: int,
    data: memoryview,
    handed_out: Seconds,
) -> None:
    """Run a message's batches; results go back together, but do not wait long for each other."""
    begun = perf_counter()
    try:
        batches = wire.unpack_batches(data)
    except BaseException as error:
        _send(link, number, 0, 0, describe_exception(error).encode(), 0.0)
        return
    unpickling = perf_counter() - begun
    results: list[ProcessingResult] = []
    first = 0
    flushed = begun
    for place, batch in enumerate(batches, start=1):
        now = page.begin(place) if place == 1 else page.go_on(number, place)
        if now is None:
            if results:
                _send_results(
                    link, page, worker, number, first, batches[first : place - 1], results
                )
            return
        queue = now - handed_out - unpickling
        try:
            result = worker.work(batch, queue, unpickling / len(batches))
        except KeyboardInterrupt as error:  # Ctrl-C is ignored here: the batch threw it
            cause = describe_exception(error)
            result = failed_result(worker.processor.processor_id, batch, cause)
        results.append(result)
        if place == len(batches) or perf_counter() - flushed > FLUSH_S:
            _send_results(link, page, worker, number, first, batches[first:place], results)
            first, flushed = place, perf_counter()
            results.clear()


def _send_results(
    link: socket.socket,
    page: Page,
    worker: Worker,
    number: int,
    first: int,
    batches: list[Batch],
    results: list[ProcessingResult],
) -> None:
    begun = page.begin(Page.PICKLING)
    try:
        data = wire.pack_results(results)
    except Exception:
        data = wire.pack_results(
            [
                _picklable(worker, batch, result)
                for batch, result in zip(batches, results, strict=True)
            ]
        )
    page.begin(Page.SENDING)
    _send(link, number, first, first + len(results), data, perf_counter() - begun)


def _picklable(worker: Worker, batch: Batch, result: ProcessingResult) -> ProcessingResult:
    try:
        wire.pack_results([result])
    except Exception as error:
        return failed_result(worker.processor.processor_id, batch, describe_exception(error))
    return result


def _send(
    link: socket.socket, number: int, first: int, end: int, data: bytes, pickling_s: Seconds
) -> None:
    head = FROM_WORKER.pack(len(data), number, first, end, pickling_s, perf_counter())
    if len(data) < 1 << 16:
        link.sendall(head + data)  # one call to the system; larger ones are not copied for it
    else:
        link.sendall(head)
        link.sendall(data)


def _receive(link: socket.socket, into: memoryview) -> memoryview | None:
    """Fill the memory and give it back; None where the caller has closed the socket."""
    view = into
    while view:
        got = link.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return into
