"""What `processes` and `interpreters` share: an executor with a pool of workers behind sockets."""

import errno
import os
import pickle
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from todobatch.errors import ExecutorUnavailableError
from todobatch.executors.base import BatchRunner, Executor, Opening
from todobatch.executors.pool import wire
from todobatch.executors.pool.dispatch import Pool
from todobatch.executors.pool.supervise import Supervisor
from todobatch.executors.pool.surroundings import Surroundings
from todobatch.executors.pool.worker import Host
from todobatch.model import describe_exception


class PoolExecutor(Executor):
    """Pickles the processor, and sends batches to workers in hosts that a subclass starts."""

    places = True
    host_name: ClassVar[str]
    """What a host is called in errors."""
    start_remedy: ClassVar[str]
    """What to do when a worker does not start."""

    surroundings: ClassVar[Callable[[], Surroundings]]
    """Returns what workers do not inherit from the code that opens the executor."""

    @abstractmethod
    def start_host(
        self, processor: bytes, surroundings: Surroundings, cpu: int | None, *, keep_rows: bool
    ) -> Host:
        """Start a host whose worker unpickles the processor and stays on the CPU (None: any)."""

    @contextmanager
    def start(self, opening: Opening) -> Iterator[BatchRunner]:
        """Start the workers, and end them after the block."""
        try:
            pickled = pickle.dumps(opening.processor, wire.PROTOCOL)
        except Exception as error:
            raise self.did_not_start(describe_exception(error)) from error
        around = type(self).surroundings()
        supervisor = Supervisor(
            partial(self.start_host, pickled, around, keep_rows=opening.keep_rows),
            opening.workers,
            self.cpus_to_use(),
            self.did_not_start,
            opening.deadline_s,
        )
        pool = Pool(supervisor, opening.processor.processor_id)
        try:
            pool.start()
            yield pool
        finally:
            supervisor.stop()

    def did_not_start(self, cause: str) -> ExecutorUnavailableError:
        """Return the error to raise when workers do not start; the remedy fits the cause."""
        remedies = (better for part, better in _REMEDIES.items() if part in cause)
        return ExecutorUnavailableError(
            f"a {self.host_name} did not start: {cause}",
            place=f"executor {self.name}",
            remedy=next(remedies, self.start_remedy),
        )


_NO_FILES = "use fewer workers, or raise the limit on open files (ulimit -n)"
_NO_MEMORY = "use fewer workers, or raise the limits on memory and processes (ulimit -v, ulimit -u)"
_REMEDIES = {
    os.strerror(errno.EMFILE): _NO_FILES,
    os.strerror(errno.ENFILE): _NO_FILES,
    os.strerror(errno.ENOMEM): _NO_MEMORY,
    "MemoryError": _NO_MEMORY,
    "can't start new thread": _NO_MEMORY,
}
"""What to do, by a part of the cause."""
