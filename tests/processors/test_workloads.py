"""The workloads that each stress one thing, and the server of `http`."""

import asyncio
import gc
import hashlib
import http.client
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import RunTodobatch
from todobatch import run_batches
from todobatch.errors import UnavailableError, UsageError
from todobatch.model import Batch, Task
from todobatch.processors import WORKLOADS, resolve, synthetic, web, web_server
from todobatch.sources import generate

if TYPE_CHECKING:
    from todobatch.lab.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ["alloc", "hot-object", "native", "payload", "skewed", "http"]


# What each stresses -------------------------------------------------------------------------------


def test_the_docs_list_every_workload_with_what_it_stresses() -> None:
    page = (ROOT / "docs" / "reference" / "workloads.md").read_text("utf-8")
    for info in WORKLOADS.values():
        assert f"| `{info.name}` | {info.stresses} |" in page


@pytest.mark.parametrize("workload", CHECKED)
def test_a_row_depends_on_its_task_alone(workload: str) -> None:
    tasks = list(generate(300))
    processor = resolve(workload)
    rows = processor.process_batch(tasks).rows
    assert rows is not None
    others = list(enumerate(tasks))
    random.Random(1).shuffle(others)
    shuffled = processor.process_batch([task for _, task in others]).rows
    assert shuffled == tuple(rows[n] for n, _ in others)
    assert None not in rows
    assert workload == "alloc" or len(set(rows)) > 1  # titles of one length, trees of one size


@pytest.mark.parametrize("workload", CHECKED)
@pytest.mark.parametrize("title", ["", "\ud800 half a pair", "x" * 20_000, "Großmutter"])
def test_any_title_will_do(workload: str, title: str) -> None:
    result = resolve(workload).process_batch([Task(title)])
    assert (result.success, result.error) == (True, None)


def test_alloc_makes_the_tree_that_it_says() -> None:
    def nodes(tree: list[object] | None) -> int:
        if tree is None:
            return 0
        _, left, right = tree
        assert left is None or isinstance(left, list)
        assert right is None or isinstance(right, list)
        return 1 + nodes(left) + nodes(right)

    assert nodes(synthetic._tree(synthetic.TREE_DEPTH, "a")) == 511
    # A label is as long as its node is deep, and the title once: sum over levels of 2^d (d + 1).
    assert resolve("alloc").process_task(Task("a")) == sum(2**d * (d + 1) for d in range(9))


@pytest.mark.thread_unsafe(reason="it counts the touches of an object that all share")
def test_no_touch_of_the_hot_object_is_lost() -> None:
    before = synthetic.HOT.touches
    threads, tasks = 4, list(generate(50))
    together = threading.Barrier(threads)

    def work() -> None:
        together.wait()
        resolve("hot-object").process_batch(tasks)

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    touches = threads * len(tasks) * synthetic.HOT_TOUCHES
    assert synthetic.HOT.touches - before == touches
    assert sum(synthetic.HOT.slots) == synthetic.HOT.touches


def test_native_gives_the_hash_of_what_it_hashed_packed_and_unpacked() -> None:
    whole = b"ab" + bytes(range(256)) * 2048 + b"ab" * (16 * 1024)
    expected = hashlib.sha256(whole).hexdigest()[:32]
    assert resolve("native").process_task(Task("ab")) == expected


def test_the_pages_of_payload_reach_the_caller_whole_and_merge_in_any_order() -> None:
    processor = resolve("payload")
    tasks = list(generate(60))
    parts = [processor.process_batch(tasks[n : n + 20]).partial for n in (0, 20, 40)]
    assert [len(part["text"]) for part in parts] == [20 * synthetic.PAGE_BYTES] * 3
    a, b, c = parts
    one = processor.finish(processor.merge(processor.merge(a, b), c))
    other = processor.finish(processor.merge(processor.merge(c, a), b))
    assert one == other == processor.finish(processor.merge(a, processor.merge(b, c)))
    assert (one["pages"], one["characters"]) == (60, 60 * synthetic.PAGE_BYTES)
    assert processor.finish(a)["characters"] == 20 * synthetic.PAGE_BYTES
    assert processor.finish({}) == {"pages": 0, "characters": 0, "check": 0}
    broken = {**a, "text": a["text"][:-1] + "?"}
    assert processor.finish(broken)["check"] != processor.finish(a)["check"]


def test_one_task_in_fifty_is_fifty_times_heavier_wherever_it_stands() -> None:
    tasks = list(generate(5_000))
    heavy = [task for task in tasks if synthetic.is_heavy(task)]
    assert 0.01 < len(heavy) / len(tasks) < 0.03
    rows = {True: synthetic._squares(25_000), False: synthetic._squares(500)}
    processor = resolve("skewed")
    assert processor.process_task(heavy[0]) == rows[True]
    light = next(task for task in tasks if not synthetic.is_heavy(task))
    assert processor.process_task(light) == rows[False]


# The server of `http` -----------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[web.OwnServer]:
    own = web.OwnServer()
    yield own
    own.stop()


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def expected_row(title: str) -> str:
    return hashlib.sha256(title.encode()).hexdigest()[:32]


def test_threads_and_coroutines_get_the_servers_own_answer() -> None:
    processor = web.Http()
    assert processor.process_task(Task("a")) == expected_row("a")
    assert asyncio.run(processor.process_task_async(Task("ö"))) == expected_row("ö")
    batch = Batch(0, (Task("a"), Task("b")))
    blocking, awaiting = (
        processor.process_batch(batch),
        asyncio.run(processor.process_batch_async(batch)),
    )
    assert blocking.rows == awaiting.rows == (expected_row("a"), expected_row("b"))


def test_the_server_ends_with_the_processor_that_started_it_and_a_copy_starts_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids = []
    plain = web.OwnServer

    def noted() -> web.OwnServer:
        own = plain()
        pids.append(own._process.pid)
        return own

    monkeypatch.setattr(web, "OwnServer", noted)
    processor = web.Http()
    copy = pickle.loads(pickle.dumps(processor))
    assert copy.address == processor.address
    del copy
    gc.collect()
    assert processor.process_batch([Task("a")]).success
    assert len(pids) == 1
    assert not ended(pids[0])
    del processor
    gc.collect()
    assert ended(pids[0])


SERVE_AND_WAIT = """
import subprocess, sys
from todobatch.processors import web
plain = subprocess.Popen
# As a thing of the server's own that we hold the other end of: its standard error.
subprocess.Popen = lambda *args, **options: plain(*args, stderr=1, **options)
processor = web.Http()
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["killed", "at its end"])
def test_the_server_ends_with_its_process_however_that_ends(how: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        if how == "killed":
            process.send_signal(signal.SIGKILL)
        process.stdin.close()
        process.wait(30)
        # Read to its end, which comes when the server that holds it open is gone (or never).
        assert process.stdout.read() == b""


def test_an_address_in_the_environment_is_asked_instead(
    monkeypatch: pytest.MonkeyPatch, server: web.OwnServer
) -> None:
    host, port = server.address
    monkeypatch.setenv(web.VARIABLE, f"{host}:{port}")
    monkeypatch.setattr(web, "OwnServer", None)  # starting one would fail
    assert resolve("http").process_task(Task("a")) == expected_row("a")


@pytest.mark.parametrize("text", ["8901", ":8901", "localhost:", "localhost:0", "localhost:99999"])
def test_a_wrong_address_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(web.VARIABLE, text)
    with pytest.raises(UsageError, match="is not an address") as caught:
        resolve("http")
    assert caught.value.place == "TODOBATCH_HTTP"
    assert "host:port" in caught.value.remedy


def test_a_server_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "server.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(web, "SERVER", broken)
    with pytest.raises(UnavailableError, match="did not start"):
        web.Http()


def test_a_server_that_is_gone_fails_each_task_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    own = web.OwnServer()
    monkeypatch.setenv(web.VARIABLE, "{}:{}".format(*own.address))
    processor = resolve("http")
    own.stop()
    for executor in ("sequential", "coroutines"):
        report = run_batches([Task("a"), Task("b")], processor, executor=executor, workers=1)
        assert (report.tasks, report.failed) == (2, 2)
        assert [failure.title for failure in report.failures] == ["a", "b"]
        assert "Connect" in report.failures[0].error or "refused" in report.failures[0].error


def test_a_batch_goes_on_after_a_request_that_was_refused(server: web.OwnServer) -> None:
    too_long = b"x" * (web_server.LONGEST_BODY + 1)
    blocking = web.BlockingClient(server.address)
    with pytest.raises(OSError, match=r"413|reset|Broken pipe"):
        blocking.ask(too_long)
    blocking.close()
    assert b"sha256" in blocking.ask(b"a")
    blocking.close()

    async def the_same() -> bytes:
        awaiting = web.AwaitingClient(server.address)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await awaiting.ask(too_long)
        awaiting.close()
        answer = await awaiting.ask(b"a")
        awaiting.close()
        return answer

    assert b"sha256" in asyncio.run(the_same())


@pytest.mark.parametrize(
    ("request_line", "fields", "status"),
    [
        ("GET / HTTP/1.1", "", 405),
        ("POST / HTTP/1.1", "Content-Length: many\r\n", 400),
        ("POST / HTTP/1.1", f"X: {'x' * web_server.LONGEST_HEAD}\r\n", 400),
        ("POST / HTTP/1.1", "Content-Length: 99999999\r\n", 413),
    ],
    ids=["a wrong method", "no length", "a long head", "a long body"],
)
def test_what_makes_no_sense_is_refused_and_the_next_is_served(
    server: web.OwnServer, request_line: str, fields: str, status: int
) -> None:
    async def exchange() -> bytes:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(f"{request_line}\r\n{fields}\r\n".encode())
        answer = await reader.readline()
        writer.close()
        return answer

    assert asyncio.run(exchange()).split()[1] == str(status).encode()
    connection = http.client.HTTPConnection(*server.address, timeout=10)
    connection.request("POST", "/", b"a")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.interpreters
@pytest.mark.parametrize("executor", ["threads", "interpreters", "processes", "coroutines"])
def test_http_runs_by_the_command_in_every_executor(
    run_todobatch: RunTodobatch, each_python: "Interpreter", executor: str
) -> None:
    # Exit code 5 would say that the output is not that of the sequential run beside it.
    done = run_todobatch(
        *("run", "--generate", "60", "--batch-size", "20", "--workload", "http"),
        *("--executor", executor, "--json"),
        interpreter=each_python,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("limit", "value", "answer"),
    [("MOST_CONNECTIONS", 0, b"HTTP/1.1 503 Service Unavailable\r\n"), ("IDLE_S", 0.01, b"")],
    ids=["one too many is turned away", "one that asks nothing is closed"],
)
def test_the_server_holds_no_more_connections_than_it_says(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: float, answer: bytes
) -> None:
    monkeypatch.setattr(web_server, limit, value)

    async def connect() -> bytes:
        server = await asyncio.start_server(web_server.Server().serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            line = await asyncio.wait_for(reader.readline(), 60)
            writer.close()
            await writer.wait_closed()
            return line

    assert asyncio.run(connect()) == answer
