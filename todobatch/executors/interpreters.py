"""`interpreters`: one subinterpreter a worker, each with a GIL of its own, in one process.

    caller ──► `pool.dispatch.Pool` ──► thread ──► subinterpreter: `pool.transport.serve`
                      └───────────── socket and page ─────────────┘

It needs Python 3.14 (PEP 734). Each interpreter is called once, in a thread of its own, and then
receives pickled batches through a socket. `InterpreterPoolExecutor` makes a call for each batch,
which takes 10 times as long, and 100 times without a GIL.

Some extension modules cannot be imported in a subinterpreter, among them psutil, numpy and pandas.
A processor that needs one must run on `threads` or `processes`.

`_Interpreter._lock` guards `_ended` and `_abandoned`; the rest belongs to the caller's thread.
"""

import importlib
import os
import pickle
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import THREADS_NAME, BatchRunner, Capabilities, Executor
from todobatch.executors.pool import wire
from todobatch.executors.pool.dispatch import Pool
from todobatch.executors.pool.page import Page, reserve
from todobatch.executors.pool.supervise import remedy_for
from todobatch.executors.pool.transport import serve
from todobatch.executors.pool.worker import Host
from todobatch.model import describe_exception
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

FIRST_VERSION = (3, 14)
"""The first Python version that has `concurrent.interpreters`."""


class Interpreters(Executor):
    """A pool of subinterpreters: it uses all CPUs, and copies batches and results."""

    name = "interpreters"
    places = True
    no_deadline = "a subinterpreter that hangs cannot be stopped"
    summary = "a pool of subinterpreters in one process, batches and results pickled"

    @property
    def capabilities(self) -> Capabilities:
        """Return what the executor can do; it uses all CPUs, but a crash ends the whole process."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=True,
            awaits=False,
            cpu_parallel=True,
        )

    def available(self) -> str | None:
        """Return why subinterpreters do not work here, or None; they need Python 3.14."""
        if sys.version_info >= FIRST_VERSION:
            return None
        running = ".".join(map(str, sys.version_info[:2]))
        return f"InterpreterPoolExecutor needs Python 3.14; this is {running}"

    @contextmanager
    def open(
        self,
        processor: TaskBatchProcessor,
        workers: int,
        *,
        keep_rows: bool = False,
        deadline_s: Seconds | None = None,
    ) -> Iterator[BatchRunner]:
        """Start the subinterpreters; see `Executor.open`."""
        self.check(workers, deadline_s)
        try:
            pickled = pickle.dumps(processor, wire.PROTOCOL)
        except Exception as error:
            raise _did_not_start(describe_exception(error)) from error

        def start(cpu: int | None) -> Host:
            return _Interpreter(pickled, cpu, keep_rows=keep_rows)

        pool = Pool(start, workers, self.cpus_to_use(), processor.processor_id, _did_not_start)
        try:
            pool.start()
            yield pool
        finally:
            pool.stop()


class _Interpreter(Host):
    """A subinterpreter, its thread, its socket, and the memory that it shares with the caller."""

    def __init__(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> None:
        self._error = "ended"
        self._killed = False
        self._lock = threading.Lock()
        """Guards `_ended` and `_abandoned`: whichever is set second releases what is open."""
        self._ended = self._abandoned = False
        with (
            ExitStack() as undo
        ):  # runs when a step fails, for example when no descriptors are left
            self._file = undo.enter_context(tempfile.TemporaryFile())
            reserve(self._file)
            self._token = os.pipe()
            for end in self._token:
                undo.callback(os.close, end)
            os.write(self._token[1], b".")
            self.page = Page(self._file.fileno(), self._token)
            undo.callback(self.page.close)
            self.link, self._worker_link = socket.socketpair()
            undo.enter_context(self.link)
            undo.enter_context(self._worker_link)
            self.link.setblocking(False)
            self._thread = self._start(processor, cpu, keep_rows=keep_rows)
            undo.pop_all()

    def _start(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> threading.Thread:
        thread = threading.Thread(
            target=self._run,
            args=(processor, cpu),
            kwargs={"keep_rows": keep_rows},
            name=f"{THREADS_NAME}interpreter",
            daemon=True,
        )
        thread.start()
        return thread

    def kill(self) -> bool:
        """Abandon the interpreter, because it cannot be killed; see `Host.kill`."""
        self._killed = True
        return False

    def how_it_ended(self) -> str:
        self._thread.join()
        return self._error

    def close(self) -> None:
        """Wait for the running batch, because nothing can stop it; see `Host.close`."""
        self.link.close()
        if self._killed:
            with self._lock:
                self._abandoned = not self._ended
            if self._abandoned:
                return
        self._thread.join()
        self._release()

    def _release(self) -> None:
        self.link.close()
        self.page.close()
        self._file.close()
        for end in self._token:
            os.close(end)

    def _run(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> None:
        """Create the interpreter, let it serve, and close it; runs in the worker's thread."""
        try:
            if cpu is not None:
                runtime.stay_on(cpu)
            # Imported by name, because mypy checks against Python 3.11, which lacks it.
            interpreter = importlib.import_module("concurrent.interpreters").create()
            self.label = f"interpreter-{interpreter.id}"
            try:
                interpreter.prepare_main(path=tuple(sys.path))
                interpreter.exec("import sys; sys.path[:] = path")
                interpreter.call(
                    _serve,
                    self._worker_link.fileno(),
                    self._file.fileno(),
                    self._token,
                    processor,
                    tuple(sys.path),
                    keep_rows=keep_rows,
                )
            finally:
                interpreter.close()
        except BaseException as error:
            self._error = f"ended: {describe_exception(error)}"
        finally:
            self._worker_link.close()
            with self._lock:
                self._ended = True
            if self._abandoned:
                self._release()


def _did_not_start(cause: str) -> ExecutorUnavailableError:
    return ExecutorUnavailableError(
        f"a subinterpreter did not start: {cause}",
        place="executor interpreters",
        remedy=remedy_for(
            cause,
            "use threads or processes; or make the processor picklable and importable (not in "
            "__main__), and import only modules that support subinterpreters",
        ),
    )


def _serve(
    link: int,
    file: int,
    token: tuple[int, int],
    processor: bytes,
    path: Sequence[str],
    *,
    keep_rows: bool,
) -> None:
    me = importlib.import_module("concurrent.interpreters").get_current()
    end = socket.socket(fileno=link)
    try:
        page = Page(file, token)
        label = f"interpreter-{me.id}"
        serve(end, page, processor, path, label, "interpreter", keep_rows=keep_rows)
        page.close()
    finally:
        end.detach()
