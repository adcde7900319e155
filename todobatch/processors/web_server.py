"""The server of the workload `http`: a small HTTP/1.1 server on the loopback interface.

It answers ``POST`` with a JSON object about the body, after 2 ms, like a remote service. `Http`
starts one for itself. Start one by hand to share it between runs or to run it on another machine:

    python -m todobatch.processors.web_server --port 8901

It prints ``host:port`` in one line when it is ready, and ends when its standard input is closed. It
accepts heads up to 16 KiB, bodies up to 1 MiB, 1,024 connections, and 30 s between two requests of
a connection. It has one thread and needs no lock.

It imports only the standard library, so it starts fast when it is run as a file.
"""

import argparse
import asyncio
import hashlib
import json
import os
import threading

WAIT_S = 0.002
"""The server waits this many seconds before each answer."""
IDLE_S = 30.0
"""The server closes a connection that sends no request for this many seconds."""
LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 1024 * 1024
MOST_CONNECTIONS = 1_024
REASONS = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed", 413: "Content Too Large",
           503: "Service Unavailable"}  # fmt: skip


class RefusedError(Exception):
    """Raised for an invalid request: the server answers with an error and closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Server:
    """Answers requests on up to `MOST_CONNECTIONS` connections, in one event loop."""

    def __init__(self) -> None:
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client closes it."""
        self._connections += 1
        try:
            await self._answer_all(reader, writer)
        except RefusedError as refused:
            _answer(writer, refused.status, {"error": REASONS[refused.status]})
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # the client has closed it
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
    """Read the body of the next request. Raises RefusedError if it is not a valid POST."""
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
    """Return the answer to a body: its size and its SHA-256."""
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
    parser = argparse.ArgumentParser(description="The server of the workload http.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free port")
    options = parser.parse_args()
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    asyncio.run(_main(options.host, options.port))


if __name__ == "__main__":
    main()
