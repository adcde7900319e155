"""The service that the workload `http` asks: a small HTTP/1.1 server on the loopback interface.

It answers ``POST`` with a JSON object about the body, after the wait that a remote service would
cost. `Http` starts one for itself; by hand, for several runs to share, or on another machine:

    python -m todobatch.processors.web_server --port 8901

It prints ``host:port`` in one line when it can be asked, and ends when its standard input does:
with the process that started it, however that one ended. Bounded: a head of at most 16 KiB, a body
of 1 MiB, 1,024 connections, 30 s without a request on one. One thread, so there is no lock.

Only the standard library is imported, nothing of todobatch: it is run as a file, and up at once.
"""

import argparse
import asyncio
import hashlib
import json
import os
import threading

WAIT_S = 0.002  # before each answer
IDLE_S = 30.0
LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 1024 * 1024
MOST_CONNECTIONS = 1_024
REASONS = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed", 413: "Content Too Large",
           503: "Service Unavailable"}  # fmt: skip


class RefusedError(Exception):
    """A request that gets an error for an answer; the connection is closed then."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Server:
    """Answers on any number of connections, up to the limit. Used by one event loop."""

    def __init__(self) -> None:
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request until the client closes it."""
        self._connections += 1
        try:
            await self._answer_all(reader, writer)
        except RefusedError as refused:
            _answer(writer, refused.status, {"error": REASONS[refused.status]})
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # the client is through with it
        finally:
            self._connections -= 1
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections > MOST_CONNECTIONS:
            raise RefusedError(503)
        while True:
            body = await asyncio.wait_for(read_request(reader), IDLE_S)
            await asyncio.sleep(WAIT_S)
            _answer(writer, 200, about(body))
            await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request. Raises RefusedError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise RefusedError(400) from error
    request_line, *fields = head.decode("latin-1").split("\r\n")
    if not request_line.startswith("POST "):
        raise RefusedError(405)
    length = 0
    for line in fields:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            if not value.strip().isdecimal():
                raise RefusedError(400)
            length = int(value)
    if length > LONGEST_BODY:
        raise RefusedError(413)
    return await reader.readexactly(length)


def about(body: bytes) -> dict[str, object]:
    """What is answered: the same for the same body, whoever asks and when."""
    return {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def _answer(writer: asyncio.StreamWriter, status: int, value: dict[str, object]) -> None:
    body = json.dumps(value).encode()
    kept = "keep-alive" if status == 200 else "close"
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: {kept}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + body)


async def _main(host: str, port: int) -> None:
    server = await asyncio.start_server(
        Server().serve, host, port, limit=LONGEST_HEAD, backlog=MOST_CONNECTIONS
    )
    name, number = server.sockets[0].getsockname()[:2]
    print(f"{name}:{number}", flush=True)
    async with server:
        await server.serve_forever()


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description="The service that the workload http asks.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    options = parser.parse_args()
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    asyncio.run(_main(options.host, options.port))


if __name__ == "__main__":
    main()
