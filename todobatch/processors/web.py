"""`Http`: every task is a real HTTP request to a server on the loopback interface.

The processor starts the server when it is made, which is before any clock starts. The server is a
process of its own, so it shares no GIL with a worker, and one server serves all workers. It ends
with the processor that started it. A copy in a worker keeps the address and starts none.

A run's figures include the server's CPU time and memory, for every approach. To exclude them, start
`web_server` separately and set ``TODOBATCH_HTTP=host:port``.
"""

import asyncio
import datetime as dt
import io
import json
import os
import selectors
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from todobatch.errors import UnavailableError, UsageError
from todobatch.model import Batch, Json, ProcessingResult, Task
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

VARIABLE = "TODOBATCH_HTTP"
"""The environment variable that names a running server."""
SERVER = Path(__file__).with_name("web_server.py")
START_TIMEOUT_S: Seconds = 30.0
ANSWER_TIMEOUT_S: Seconds = 30.0

Address = tuple[str, int]


class Http(TaskBatchProcessor):
    """Posts each task's title to a server that answers after 2 ms, over one connection a batch.

    A row is the first half of the digest that the server answers with. Raises UsageError when
    TODOBATCH_HTTP is not an address, and UnavailableError when the server does not start.
    """

    name = "http"
    splittable = True

    def __init__(
        self, processor_id: str | int | None = None, *, today: dt.date | None = None
    ) -> None:
        super().__init__(processor_id, today=today)
        _load_client()
        named = os.environ.get(VARIABLE)
        if named:
            self.address = parse_address(named)
        else:
            server = OwnServer()
            # It runs when the object is collected, or when the process exits.
            weakref.finalize(self, server.stop)
            self.address = server.address

    def __setstate__(self, state: dict[str, Any]) -> None:
        # In a worker, before the clock starts.
        _load_client()
        self.__dict__.update(state)

    def process_task(self, task: Task) -> Json:
        """Send one title to the server, over the batch's connection if there is one."""
        with _client(_blocking, BlockingClient, self.address) as client:
            return _row(client.ask(_body(task)))

    async def process_task_async(self, task: Task) -> Json:
        """Send one title to the server, and await the answer."""
        with _client(_awaiting, AwaitingClient, self.address) as client:
            return _row(await client.ask(_body(task)))

    def process_batch(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """Process a batch over one connection."""
        with _client(_blocking, BlockingClient, self.address):
            return super().process_batch(tasks)

    async def process_batch_async(self, tasks: Batch | Sequence[Task]) -> ProcessingResult:
        """Process a batch over one connection."""
        with _client(_awaiting, AwaitingClient, self.address):
            return await super().process_batch_async(tasks)


class BlockingClient:
    """One connection of the standard library's HTTP client, for one thread."""

    def __init__(self, address: Address) -> None:
        from http.client import HTTPConnection

        self._connection = HTTPConnection(*address, timeout=ANSWER_TIMEOUT_S)

    def ask(self, body: bytes) -> bytes:
        """Send a body and return the answer; reconnect after an OSError or HTTPException."""
        try:
            self._connection.request("POST", "/", body)
            response = self._connection.getresponse()
            answer = response.read()
        except BaseException:
            self._connection.close()
            raise
        if response.status != 200:
            raise OSError(f"the server answered {response.status} {response.reason}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class AwaitingClient:
    """One HTTP connection over an event loop's streams, for one task of the loop."""

    def __init__(self, address: Address) -> None:
        self._host, self._port = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes) -> bytes:
        """Send a body and return the answer; see `BlockingClient.ask`."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                status, answer = await self._exchange(body)
        except BaseException:
            self.close()
            raise
        if not status.startswith("200 "):
            raise OSError(f"the server answered {status}")
        return answer

    async def _exchange(self, body: bytes) -> tuple[str, bytes]:
        from http.client import parse_headers

        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        head = f"POST / HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode("ascii") + body)
        await writer.drain()
        status, _, fields = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
        headers = parse_headers(io.BytesIO(fields))
        answer = await reader.readexactly(int(headers["Content-Length"]))
        return status.decode("latin-1").partition(" ")[2], answer

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


# The connection of the present batch, one for each thread and each task of an event loop.
_blocking: ContextVar[BlockingClient | None] = ContextVar("_blocking", default=None)
_awaiting: ContextVar[AwaitingClient | None] = ContextVar("_awaiting", default=None)
_Client = TypeVar("_Client", BlockingClient, AwaitingClient)


@contextmanager
def _client(
    of_batch: ContextVar[_Client | None], kind: type[_Client], address: Address
) -> Iterator[_Client]:
    """Provide the batch's connection. If there is none, open one that is it until this ends."""
    if (client := of_batch.get()) is not None:
        yield client
        return
    with closing(kind(address)) as client:
        token = of_batch.set(client)
        try:
            yield client
        finally:
            of_batch.reset(token)


class OwnServer:
    """Starts a server in a new process, which ends when this process closes its input."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            # Run as a file, because importing todobatch takes time. -I -S: no user settings.
            [sys.executable, "-I", "-S", str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C must not end the server before the run
        )
        try:
            self.address = parse_address(self._first_line())
        except UsageError as error:
            self.stop()
            raise UnavailableError(
                "the HTTP server did not start",
                place="workload http",
                remedy=f"read what it printed above, or set {VARIABLE} to a running server",
            ) from error

    def _first_line(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(START_TIMEOUT_S)
        return self._process.stdout.readline().decode() if ready else ""

    def stop(self) -> None:
        """End the server and wait for it; does nothing in a fork of the process that started it."""
        if os.getpid() != self._owner:
            return
        self._process.kill()
        with self._process:  # closes the pipes and waits
            pass


def parse_address(text: str) -> Address:
    """Split ``host:port``. Raises UsageError if it is not an address."""
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(
            f"{text.strip()!r} is not an address",
            place=VARIABLE,
            remedy="give host:port, such as 127.0.0.1:8901, or unset it to start a server",
        )
    return host, int(port)


def _load_client() -> None:
    """Import the HTTP client before the clock starts; only this workload needs it."""
    import http.client  # noqa: F401


def _body(task: Task) -> bytes:
    return task.title.encode("utf-8", "surrogatepass")


def _row(answer: bytes) -> str:
    digest: str = json.loads(answer)["sha256"]
    return digest[:32]
