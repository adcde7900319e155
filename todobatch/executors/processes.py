"""`processes`: one process a worker; batches and results are pickled.

    caller ──► `pool.dispatch.Pool` ──► fork server ──► worker process: `pool.transport.serve`
                      └───────────── socket and page ─────────────┘

See `pool` for how batches are sent and what happens when a worker dies or hangs. A fork server
starts the workers where there is one, because forking a process that has threads can deadlock.
Elsewhere workers are spawned, which takes longer.

A worker ends when its socket is closed or its caller has ended. Where prctl(2) exists, it ends even
while a batch holds the GIL. A worker also ends when the fork server does; it is then replaced.
"""

import multiprocessing as mp
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from multiprocessing.util import Finalize
from typing import Any

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Capabilities, Opening
from todobatch.executors.pool.executor import PoolExecutor
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.supervise import END_GRACE_S
from todobatch.executors.pool.surroundings import Surroundings
from todobatch.executors.pool.transport import move_link, serve
from todobatch.executors.pool.worker import Host
from todobatch.files import TemporaryFolder, move_high
from todobatch.model import describe_exception


class Processes(PoolExecutor):
    """A pool of processes: it uses all CPUs, copies batches and results, and survives crashes.

    Deadlines are checked only while the caller waits for a result.
    """

    name = "processes"
    summary = "a pool of processes, batches and results pickled"
    capabilities = Capabilities(
        isolates_crashes=True, enforces_deadlines=True, needs_pickling=True, cpu_parallel=True
    )
    host_name = "worker process"
    surroundings = staticmethod(Surroundings.for_process)
    start_remedy = (
        "read what the process printed above; a processor of your own must be importable (not "
        "defined in __main__) and must pickle"
    )

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the processes. Raises ExecutorUnavailableError in a daemonic process."""
        if mp.current_process().daemon:
            raise ExecutorUnavailableError(
                "this is a daemonic process of multiprocessing, which may not start processes",
                place="executor processes",
                remedy='choose `executor="threads"` or `executor="interpreters"`, or start this '
                "process with daemon=False",
            )
        try:
            _use_own_folder()
        except OSError as error:
            raise self.did_not_start(describe_exception(error)) from error
        with super().start(opening) as run:
            yield run

    def start_host(
        self, processor: bytes, surroundings: Surroundings, cpu: int | None, *, keep_rows: bool
    ) -> Host:
        """Start a process."""
        return _Process(processor, surroundings, cpu, keep_rows=keep_rows)


class _Process(Host):
    """A worker process."""

    def _start(
        self, link: socket.socket, file: int, processor: bytes, cpu: int | None, *, keep_rows: bool
    ) -> None:
        context = fork_server_context()
        self._process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_serve,
            args=(link, _Descriptor(file), processor, self._surroundings, cpu),
            kwargs={"start_method": context.get_start_method(), "keep_rows": keep_rows},
        )
        self._process.start()
        link.close()
        self.label = f"process-{self._process.pid}"
        self.sentinel = self._process.sentinel

    def kill(self) -> bool:
        self._process.kill()
        return True

    def how_it_ended(self) -> str:
        self._process.join(END_GRACE_S)
        self._process.kill()  # it may run on after it has closed its socket
        self._process.join()
        return runtime.describe_end(self._process.exitcode or 0)

    def close(self) -> None:
        self.link.close()
        self._process.kill()
        self._process.join()
        self._process.close()
        self._opened.close()


def fork_server_context() -> BaseContext:
    """Return the context that starts processes from a fork server, or spawns them without one."""
    methods = mp.get_all_start_methods()
    return mp.get_context("forkserver" if "forkserver" in methods else "spawn")


def _use_own_folder() -> None:
    """Give multiprocessing a folder for its sockets that is swept if this process is killed."""
    config = mp.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
    if config.get("tempdir") is None:
        folder = TemporaryFolder("processes", short=True)
        config["tempdir"] = str(folder.path)
        Finalize(None, folder.remove, exitpriority=-100)  # as multiprocessing does


class _Descriptor:
    """Carries an open descriptor to a process that is being started, by pickling."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detach, (DupFd(self._number),)


def _detach(there: Any) -> int:
    number: int = there.detach()
    return number


def _serve(
    link: socket.socket,
    file: int,
    processor: bytes,
    surroundings: Surroundings,
    cpu: int | None,
    *,
    start_method: str,
    keep_rows: bool,
) -> None:
    """Run a worker process; `file` is the descriptor of its page, sent as a `_Descriptor`."""
    # Ctrl-C is for the coordinator. Programs that a task starts do not inherit a handler.
    signal.signal(signal.SIGINT, _ignore)
    _end_with_parent(start_method)
    if cpu is not None:
        runtime.stay_on(cpu)
    label = f"process-{os.getpid()}"
    _move_tracker()
    # As they came, programs of a task would inherit them.
    link, page = move_link(link), Page(move_high(file))
    serve(link, page, processor, surroundings, label, start_method, keep_rows=keep_rows)


def _ignore(number: int, frame: object) -> None:
    """Do nothing about a signal."""


def _end_with_parent(start_method: str) -> None:
    """End this process when the coordinator has ended, even in the middle of a batch.

    A thread waits for the coordinator's end, but cannot act while a batch holds the GIL. So under a
    fork server prctl(2) is used too: the system kills this process when the fork server ends, and
    that ends with the coordinator. A spawned process does not use it: the system would kill that
    process with the thread that started it, which may end earlier.
    """
    parent = mp.parent_process()
    assert parent is not None
    if start_method == "forkserver":
        _let_the_fork_server_end()
        runtime.end_with_parent()
    if wait([parent.sentinel], 0):
        os._exit(1)
    threading.Thread(
        target=_end_when_ready, args=(parent.sentinel,), name="parent-watch", daemon=True
    ).start()


def _let_the_fork_server_end() -> None:
    """Close this process's end of the pipe that keeps the fork server alive.

    multiprocessing gives that pipe to each child, but no child needs it.
    """
    from multiprocessing import forkserver

    server: Any = getattr(forkserver, "_forkserver", None)
    descriptor = getattr(server, "_forkserver_alive_fd", None)
    if descriptor is not None:
        server._forkserver_alive_fd = None  # noqa: SLF001 - there is no public way
        os.close(descriptor)


def _move_tracker() -> None:
    """Move the pipe to multiprocessing's resource tracker, which prints what it does not expect."""
    from multiprocessing import resource_tracker

    tracker: Any = getattr(resource_tracker, "_resource_tracker", None)
    if getattr(tracker, "_fd", None) is not None:
        tracker._fd = move_high(tracker._fd)  # noqa: SLF001 - there is no public way


def _end_when_ready(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
