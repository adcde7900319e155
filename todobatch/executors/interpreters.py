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
import socket
import sys
import threading

from todobatch import runtime
from todobatch.executors.base import THREADS_NAME, Capabilities
from todobatch.executors.pool.executor import PoolExecutor
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.surroundings import Surroundings
from todobatch.executors.pool.transport import serve
from todobatch.executors.pool.worker import Host
from todobatch.model import describe_exception

FIRST_VERSION = (3, 14)
"""The first Python version that has `concurrent.interpreters`."""


class Interpreters(PoolExecutor):
    """A pool of subinterpreters: it uses all CPUs, and copies batches and results.

    A crash ends the whole process.
    """

    name = "interpreters"
    no_deadline = "a subinterpreter that hangs cannot be stopped"
    summary = "a pool of subinterpreters in one process, batches and results pickled"
    capabilities = Capabilities(needs_pickling=True, cpu_parallel=True)
    host_name = "subinterpreter"
    surroundings = staticmethod(Surroundings.for_interpreter)
    start_remedy = (
        "use threads or processes; or make the processor picklable and importable (not in "
        "__main__), and import only modules that support subinterpreters"
    )

    def available(self) -> str | None:
        """Return why subinterpreters do not work here, or None; they need Python 3.14."""
        if sys.version_info >= FIRST_VERSION:
            return None
        running = ".".join(map(str, sys.version_info[:2]))
        return f"InterpreterPoolExecutor needs Python 3.14; this is {running}"

    def start_host(
        self, processor: bytes, surroundings: Surroundings, cpu: int | None, *, keep_rows: bool
    ) -> Host:
        """Start a subinterpreter in a thread."""
        return _Interpreter(processor, surroundings, cpu, keep_rows=keep_rows)


class _Interpreter(Host):
    """A subinterpreter, and the thread that runs it."""

    in_this_process = True

    def __init__(
        self, processor: bytes, surroundings: Surroundings, cpu: int | None, *, keep_rows: bool
    ) -> None:
        self._error = "ended"
        self._killed = False
        self._lock = threading.Lock()
        """Guards `_ended` and `_abandoned`: whichever is set second releases what is open."""
        self._ended = self._abandoned = False
        super().__init__(processor, surroundings, cpu, keep_rows=keep_rows)

    def _start(
        self, link: socket.socket, file: int, processor: bytes, cpu: int | None, *, keep_rows: bool
    ) -> None:
        self._thread = threading.Thread(
            target=self._run,
            args=(link, file, processor, cpu),
            kwargs={"keep_rows": keep_rows},
            name=f"{THREADS_NAME}interpreter",
            daemon=True,
        )
        self._thread.start()

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
        self._opened.close()

    def _run(
        self, link: socket.socket, file: int, processor: bytes, cpu: int | None, *, keep_rows: bool
    ) -> None:
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
                    link.fileno(),
                    file,
                    self._token,
                    processor,
                    self._surroundings,
                    keep_rows=keep_rows,
                )
            finally:
                interpreter.close()
        except BaseException as error:
            self._error = f"ended: {describe_exception(error)}"
        finally:
            link.close()
            with self._lock:
                self._ended = True
            if self._abandoned:
                self._opened.close()


def _serve(
    link: int,
    file: int,
    token: tuple[int, int],
    processor: bytes,
    surroundings: Surroundings,
    *,
    keep_rows: bool,
) -> None:
    me = importlib.import_module("concurrent.interpreters").get_current()
    end = socket.socket(fileno=link)
    try:
        page = Page(file, token)
        label = f"interpreter-{me.id}"
        serve(end, page, processor, surroundings, label, "interpreter", keep_rows=keep_rows)
        page.close()
    finally:
        end.detach()
