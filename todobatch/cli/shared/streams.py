"""Says it if standard output cannot be written."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any, cast

from todobatch.errors import StoreError


@contextmanager
def checked_output() -> Iterator[None]:
    """Make each failed write to standard output in the ``with`` block a StoreError.

    A reader that has left (BrokenPipeError) is no failure.
    """
    with redirect_stdout(cast("IO[str]", _Checked(sys.stdout))):
        yield


class _Checked:
    """Standard output whose system errors say that it is standard output."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text. Raises StoreError."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error

    def flush(self) -> None:
        """Flush what was written. Raises StoreError."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _unwritable(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _unwritable(error: OSError) -> StoreError:
    return StoreError(
        f"cannot be written: {error.strerror or error}",
        place="standard output",
        remedy="free some room on its disk, or send it to another file",
    )
