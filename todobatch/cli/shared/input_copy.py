"""Copies an input that can be read only once, such as a pipe, so that each job can read it."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from todobatch.errors import InputError, StoreError
from todobatch.files import TemporaryFolder, is_file
from todobatch.units import Bytes, Ratio, show_bytes

DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/(?:fd/(?=\d))?(\d+|stdin|stdout|stderr)", re.ASCII)
"""The name of a descriptor of the process that uses the name."""
LEAST_FREE: Bytes = 500_000_000
"""A copy leaves this much room in the temporary folder, or `LEAST_FREE_SHARE` if that is less."""
LEAST_FREE_SHARE: Ratio = 0.05
"""The share of a small disk that a copy leaves free."""
SMALL: Bytes = 16_000_000
"""A copy of at most this size is made even if less than that room is left."""
_PIECE: Bytes = 1 << 20
_REMEDY = "set TMPDIR to a folder with more room, or save the input as a file and name that file"


@contextmanager
def readable_twice(file: Path) -> Iterator[str]:
    """Yield the name of a file with the content of the input, which other processes can read.

    Standard input (``-``) and pipes are copied for the time of the ``with`` block. Raises
    InputError if the input is a device or cannot be read, and StoreError if it cannot be copied.
    """
    name = str(file)
    if name != "-" and is_file(file):
        if DESCRIPTOR.fullmatch(name) is None:
            yield name
            return
        real = file.resolve()
        if is_file(real) and real.samefile(file):  # otherwise it was removed
            yield str(real)
            return
    with _open(file) as stream, _temporary_folder() as folder:
        copy = folder / "copy"
        _copy(stream, copy, "standard input" if name == "-" else name)
        yield str(copy)


@contextmanager
def _open(file: Path) -> Iterator[BinaryIO]:
    """Open the input. It is checked again, because it may have been replaced."""
    from todobatch.sources.registry import refuse_device

    is_stdin = str(file) == "-"
    place = "standard input" if is_stdin else str(file)
    try:
        opened = nullcontext(sys.stdin.buffer) if is_stdin else file.open("rb")
    except OSError as error:
        cause = f"cannot be opened: {error.strerror or error}"
        raise InputError(cause, place=place, remedy="check the path") from error
    with opened as stream:
        if not (is_stdin and stream.isatty()):
            refuse_device(os.fstat(stream.fileno()), place)
        yield stream


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        folder = TemporaryFolder("input")
    except OSError as error:
        raise StoreError(
            f"no temporary folder can be made for a copy of the input: {error.strerror or error}",
            place=error.filename or "",
            remedy=_REMEDY,
        ) from error
    try:
        yield folder.path
    finally:
        folder.remove()


def _copy(stream: BinaryIO, copy: Path, name: str) -> None:
    """Copy all of the stream. Raises StoreError before the disk is full."""
    home, copied = copy.parent.parent, 0
    try:
        with copy.open("wb") as file:
            while piece := _read(stream, name):
                copied += len(piece)
                if copied > SMALL:
                    _check_room(home, len(piece), copied, name)
                file.write(piece)
    except OSError as error:
        raise StoreError(
            f"{name} cannot be copied to a temporary file: {error.strerror or error}",
            place=str(home),
            remedy=_REMEDY,
        ) from error


def _read(stream: BinaryIO, name: str) -> bytes:
    try:
        return stream.read(_PIECE)
    except OSError as error:
        raise InputError(
            f"reading failed before the end: {error.strerror or error}",
            place=name,
            remedy="check what writes to it",
        ) from error


def _check_room(folder: Path, size: Bytes, copied: Bytes, name: str) -> None:
    disk = os.statvfs(folder)
    if not disk.f_blocks:  # a file system that does not know its size
        return
    least = min(LEAST_FREE, LEAST_FREE_SHARE * disk.f_blocks * disk.f_frsize)
    if disk.f_bavail * disk.f_frsize - size < least:
        raise StoreError(
            f"there is no room for a copy of {name}: after {show_bytes(copied)} of it, less than "
            f"{show_bytes(least)} would stay free",
            place=str(folder),
            remedy=_REMEDY,
        )
