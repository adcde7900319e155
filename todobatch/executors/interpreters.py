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
from contextlib import contextmanager

from todobatch import runtime
from todobatch.errors import ExecutorUnavailableError
from todobatch.executors import wire
from todobatch.executors.base import Capabilities, Executor, Run
from todobatch.executors.link import Page, reserve, serve
from todobatch.executors.pool import Host, Pool
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
    ) -> Iterator[Run]:
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
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
        reserve(self._file)
        self._token = os.pipe()
        os.write(self._token[1], b".")
        self.link, self._theirs = socket.socketpair()
        self.link.setblocking(False)
        self.page = Page(self._file.fileno(), self._token)
        self._thread = threading.Thread(
            target=self._live, args=(processor, cpu), kwargs={"keep_rows": keep_rows}, daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._theirs.close()
            self._let_go()
            raise

    def kill(self) -> None:
        """Nothing of that kind can be done to it."""

    def how_it_ended(self) -> str:
        """See `Host.how_it_ended`."""
        self._thread.join()
        return self._error

    def close(self) -> None:
        """See `Host.close`. Waits for the batch under way, since nothing can stop that."""
        self.link.close()
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


def _did_not_start(cause: str) -> ExecutorUnavailableError:
    return ExecutorUnavailableError(
        f"a subinterpreter did not start: {cause}",
        place="executor interpreters",
        remedy="every module that the processor imports must support subinterpreters, and the "
        "processor must be importable (not defined in __main__) and must pickle; otherwise use "
        "threads or processes",
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
