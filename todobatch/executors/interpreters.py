"""`interpreters`: one subinterpreter a worker, each with a GIL of its own, in one process.

Needs Python 3.14 (PEP 734). Batches and results are pickled across, as `pool` has it: each
interpreter is called once, for all its life, in a thread of its own, and is then spoken to through
a socket. (A call a message, as `InterpreterPoolExecutor` makes, takes 10 times as long, and without
a GIL 100 times.) Some extension modules cannot be imported in a subinterpreter (psutil, numpy and
pandas among them): a processor that needs one belongs on `threads` or `processes`.
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
from todobatch.executors.pool.dispatch import Host, Pool, remedy_for
from todobatch.executors.pool.transport import Page, reserve, serve
from todobatch.model import describe_exception
from todobatch.processors.base import TaskBatchProcessor
from todobatch.units import Seconds

FIRST_VERSION = (3, 14)


class Interpreters(Executor):
    """A pool of subinterpreters: parallel with or without a GIL, at the price of copying."""

    name = "interpreters"
    places = True
    no_deadline = "a subinterpreter that hangs cannot be stopped"
    summary = "a pool of subinterpreters in one process, batches and results pickled"

    @property
    def capabilities(self) -> Capabilities:
        """It uses all CPUs; a crash takes the whole process with it."""
        return Capabilities(
            isolates_crashes=False,
            enforces_deadlines=False,
            needs_pickling=True,
            awaits=False,
            cpu_parallel=True,
        )

    def available(self) -> str | None:
        """Needs `InterpreterPoolExecutor`, new in 3.14."""
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
        """See `Executor.open`."""
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
    """A subinterpreter, the thread that is in it, their socket and their page."""

    def __init__(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> None:
        self._error = "ended"
        self._given_up = False
        self._lock = threading.Lock()
        """Guards `_over` and `_left`: who is last lets go of what is open."""
        self._over = self._left = False
        with ExitStack() as undo:  # when something fails here, such as for want of descriptors
            self._file = undo.enter_context(tempfile.TemporaryFile())
            reserve(self._file)
            self._token = os.pipe()
            for end in self._token:
                undo.callback(os.close, end)
            os.write(self._token[1], b".")
            self.page = Page(self._file.fileno(), self._token)
            undo.callback(self.page.close)
            self.link, self._theirs = socket.socketpair()
            undo.enter_context(self.link)
            undo.enter_context(self._theirs)
            self.link.setblocking(False)
            self._thread = self._started(processor, cpu, keep_rows=keep_rows)
            undo.pop_all()

    def _started(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> threading.Thread:
        thread = threading.Thread(
            target=self._live,
            args=(processor, cpu),
            kwargs={"keep_rows": keep_rows},
            name=f"{THREADS_NAME}interpreter",
            daemon=True,
        )
        thread.start()
        return thread

    def kill(self) -> bool:
        """Nothing of that kind can be done to it: it is given up, and keeps what it has open."""
        self._given_up = True
        return False

    def how_it_ended(self) -> str:
        """See `Host.how_it_ended`."""
        self._thread.join()
        return self._error

    def close(self) -> None:
        """See `Host.close`. Waits for the batch under way, since nothing can stop that."""
        self.link.close()
        if self._given_up:
            with self._lock:
                self._left = not self._over
            if self._left:
                return
        self._thread.join()
        self._let_go()

    def _let_go(self) -> None:
        self.link.close()
        self.page.close()
        self._file.close()
        for end in self._token:
            os.close(end)

    def _live(self, processor: bytes, cpu: int | None, *, keep_rows: bool) -> None:
        """In the thread: the interpreter's whole life."""
        try:
            if cpu is not None:
                runtime.stay_on(cpu)
            # By name: the type checker looks at the oldest Python, which does not have it.
            interpreter = importlib.import_module("concurrent.interpreters").create()
            self.label = f"interpreter-{interpreter.id}"
            try:
                interpreter.prepare_main(path=tuple(sys.path))
                interpreter.exec("import sys; sys.path[:] = path")
                interpreter.call(
                    _serve,
                    self._theirs.fileno(),
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
            self._theirs.close()
            with self._lock:
                self._over = True
            if self._left:
                self._let_go()


def _did_not_start(cause: str) -> ExecutorUnavailableError:
    return ExecutorUnavailableError(
        f"a subinterpreter did not start: {cause}",
        place="executor interpreters",
        remedy=remedy_for(
            cause,
            "every module that the processor imports must support subinterpreters, and the "
            "processor must be importable (not defined in __main__) and must pickle; otherwise use "
            "threads or processes",
        ),
    )


# In the worker.


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
        end.detach()  # the thread that is in here closes it, whatever happens to the interpreter
