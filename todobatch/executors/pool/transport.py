"""The worker's side of a pool: it receives messages of batches and sends results back.

    socket ──► receive ──► unpickle ──► process each batch ──► pickle ──► socket
                  └────────── each step is recorded on the page ──────┘

Processes and subinterpreters run the same code, so it imports only what both can import. A worker
is one thread. It shares only the socket and the page with its caller; see `page`.
"""

import pickle
import socket
import struct
from time import perf_counter

from todobatch.executors.pool import wire
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.surroundings import Surroundings
from todobatch.executors.worker import Worker
from todobatch.files import move_high
from todobatch.model import Batch, ProcessingResult, describe_exception
from todobatch.processors.base import failed_result
from todobatch.units import Seconds

FLUSH_S: Seconds = 0.008
"""A message's results are sent together, unless one has waited this many seconds."""

KEPT_BYTES = 1 << 22
"""A worker receives messages into one buffer, which shrinks to this size after a larger one."""

MOST_BYTES = 1 << 36
"""A message has at most this many bytes. If its head says more, user code has written it."""

TO_WORKER = struct.Struct("=QQd")
"""The head of a message to a worker: bytes that follow, number of the message, time it was sent."""
FROM_WORKER = struct.Struct("=QQIIdd")
"""The head of a message to the caller: bytes that follow, number of the answered message, first
batch, end of the batches, seconds of pickling, time it was sent."""
READY = 0
"""A worker's first message has this number. It is empty, or says why the worker cannot start."""


def move_link(link: socket.socket) -> socket.socket:
    """Move a socket to a high number, because user code may write to a low one."""
    return socket.socket(fileno=move_high(link.detach()))


def serve(
    link: socket.socket,
    page: Page,
    processor: bytes,
    surroundings: Surroundings,
    label: str,
    start_method: str,
    *,
    keep_rows: bool,
) -> None:
    """Run a worker from its start to its end: report ready, then answer messages.

    `link` is the worker's end of the socket; the worker ends when the caller closes the other end.
    `processor` is the pickled processor.
    """
    try:
        surroundings.apply()
        loaded = pickle.loads(processor)  # noqa: S301 - our own
        worker = Worker(loaded, label, start_method, keep_rows=keep_rows, progress=page.progress)
    except BaseException as error:
        _send(link, READY, 0, 0, _text(error), 0.0)
        return
    try:
        _send(link, READY, 0, 0, b"", 0.0)
        head, memory = bytearray(TO_WORKER.size), bytearray()
        while _receive(link, memoryview(head)):
            size, number, sent = TO_WORKER.unpack(head)
            if size > MOST_BYTES:
                return
            if len(memory) < size:
                memory = bytearray(size)
            elif len(memory) > KEPT_BYTES > size:
                memory = bytearray(KEPT_BYTES)
            data = _receive(link, memoryview(memory)[:size])
            if data is not None and page.accept(number):
                _process_message(link, page, worker, number, data, sent)
                page.begin(page.IDLE)
    except ConnectionError:
        pass  # the caller has closed the socket and wants no more results


def _process_message(
    link: socket.socket, page: Page, worker: Worker, number: int, data: memoryview, sent: Seconds
) -> None:
    """Process the batches of a message, and send the results of short batches together."""
    begun = perf_counter()
    try:
        batches = wire.unpack_batches(data)
    except BaseException as error:
        _send(link, number, 0, 0, _text(error), 0.0)
        return
    unpickling = perf_counter() - begun
    results: list[ProcessingResult] = []
    first = 0
    flushed = begun
    for place, batch in enumerate(batches, start=1):
        now = page.begin(place) if place == 1 else page.begin_next(number, place)
        if now is None:
            if results:
                _send_results(link, page, worker, number, first, batches, results)
            return
        queue = now - sent - unpickling
        try:
            result = worker.work(batch, queue, unpickling / len(batches))
        except KeyboardInterrupt as error:  # workers ignore Ctrl-C, so the batch itself raised this
            cause = describe_exception(error)
            result = failed_result(worker.processor.processor_id, batch, cause)
        results.append(result)
        if place == len(batches) or perf_counter() - flushed > FLUSH_S:
            _send_results(link, page, worker, number, first, batches, results)
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
    """Pickle and send the results of the batches of a message from number `first` on.

    A result that cannot be pickled is replaced by a failed one.
    """
    begun = page.begin(Page.PICKLING)
    try:
        data = wire.pack_results(results)
    except Exception:
        pairs = zip(batches[first:], results, strict=False)  # later batches have no result yet
        data = wire.pack_results([_picklable(worker, *pair) for pair in pairs])
    page.begin(Page.SENDING)
    _send(link, number, first, first + len(results), data, perf_counter() - begun)


def _picklable(worker: Worker, batch: Batch, result: ProcessingResult) -> ProcessingResult:
    try:
        wire.pack_results([result])
    except Exception as error:
        return failed_result(worker.processor.processor_id, batch, describe_exception(error))
    return result


def _text(error: BaseException) -> bytes:
    """Describe an error in UTF-8; half a character, as in file names, becomes an escape."""
    return describe_exception(error).encode(errors="backslashreplace")


def _send(
    link: socket.socket, number: int, first: int, end: int, data: bytes, pickling_s: Seconds
) -> None:
    head = FROM_WORKER.pack(len(data), number, first, end, pickling_s, perf_counter())
    if len(data) < 1 << 16:
        link.sendall(head + data)  # copying a little is cheaper than a second system call
    else:
        link.sendall(head)
        link.sendall(data)


def _receive(link: socket.socket, into: memoryview) -> memoryview | None:
    """Fill the memory and return it; None when the caller has closed the socket."""
    view = into
    while view:
        got = link.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return into
