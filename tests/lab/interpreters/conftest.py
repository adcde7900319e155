"""Fixtures: an empty cache, a fake CPython to install, and a server with its archive."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.interpreters import fake_cpython
from todobatch.lab.interpreters import toolchain
from todobatch.lab.progress import Silent


class Kept(Silent):
    """A `Progress` that keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set an empty cache folder for the test."""
    monkeypatch.setenv("TODOBATCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the check of the compiler, because the fake needs only make."""
    monkeypatch.setattr(toolchain, "ensure", lambda progress: None)


@pytest.fixture
def fake(tmp_path: Path) -> fake_cpython.Fake:
    (tmp_path / "upstream").mkdir()
    return fake_cpython.make(tmp_path / "upstream")


@pytest.fixture
def server(fake: fake_cpython.Fake) -> Iterator[str]:
    """Run a local web server that has the archive; any other address is 404."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(fake.archive.parent))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()
