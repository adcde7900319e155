"""The surroundings of user code in a worker: those of the code that opened the executor."""

import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker does not inherit from its caller.

    A fork server starts processes as the caller was when the server began. A subinterpreter begins
    with the defaults of Python, but shares what belongs to the process.
    """

    path: tuple[str, ...]
    """`sys.path`, which unpickling the processor needs."""
    recursion_limit: int
    folder: str | None = None
    """The working folder; None to leave it."""
    environment: Mapping[str, str] | None = None
    """All environment variables; None to leave them."""
    umask: int | None = None
    """The mask for new files; None to leave it."""

    @classmethod
    def for_interpreter(cls) -> Self:
        """Return what a subinterpreter of this process lacks."""
        return cls(tuple(sys.path), sys.getrecursionlimit())

    @classmethod
    def for_process(cls) -> Self:
        """Return what a process lacks that this one starts through a fork server."""
        folder = None
        with suppress(OSError):  # it has been removed
            folder = str(Path.cwd())
        return cls(tuple(sys.path), sys.getrecursionlimit(), folder, dict(os.environ), _umask())

    def apply(self) -> None:
        """Give them to the calling process or subinterpreter."""
        sys.path[:] = self.path
        sys.setrecursionlimit(self.recursion_limit)
        if self.folder is not None:
            with suppress(OSError):
                os.chdir(self.folder)
        if self.umask is not None:
            os.umask(self.umask)
        if self.environment is not None and self.environment != os.environ:
            for name in os.environ.keys() - self.environment.keys():
                del os.environ[name]
            os.environ.update(self.environment)
            time.tzset()


def _umask() -> int | None:
    """Return the mask for new files; None where the system does not show it.

    Setting it to read it would race with threads that make files.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^Umask:\s*([0-7]+)", status, re.MULTILINE):
            return int(found[1], 8)
    return None
