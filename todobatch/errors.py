"""todobatch's errors, and the exit code with which each ends a command.

::

    TodobatchError                  1   (never raised itself)
    ├── UsageError                  2   an argument is invalid
    ├── InputError                  2   the input cannot be read as tasks
    │   ├── UnknownFormatError      2   no reader for this kind of file
    │   ├── EmptyInputError         2   the input has no task
    │   └── BrokenLineError         2   one record is broken (carries file, line and reason)
    ├── UnavailableError            4   something that this machine does not have
    │   ├── InterpreterMissingError 4   no such interpreter, or it does not run
    │   ├── ExecutorUnavailableError 4  the executor cannot work on this interpreter
    │   └── ExtraMissingError       4   an optional dependency is not installed
    ├── MeasurementError            5   the run was not the one requested
    │   ├── GilCameBackError        5   a free-threaded worker ended with the GIL on
    │   ├── OutputsDisagreeError    5   two approaches gave different outputs
    │   └── NoProgressError         5   nothing came back from the workers for too long
    └── StoreError                  6   a file or folder cannot be written or read
        ├── NewerSchemaError        6   it was written by a newer todobatch
        └── BuildError              6   an interpreter could not be installed

Other exit codes: 0 is success. 1 is a run with failed tasks. 3 is a failed gate of ``compare``,
``versus``, ``doctor`` or ``drill``. 70 is a bug in todobatch. 130 is Ctrl-C or
SIGTERM.
"""

from collections.abc import Iterable
from typing import ClassVar

from todobatch.units import show_text

EXIT_OK = 0
EXIT_TASKS_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE = 3
EXIT_UNAVAILABLE = 4
EXIT_MEASUREMENT = 5
EXIT_STORE = 6
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``'; did you mean threads?'`` with the known name nearest to `name`, or nothing."""
    from difflib import get_close_matches  # only an error needs it

    spelled = {each.casefold(): each for each in known}
    near = get_close_matches(name.casefold(), spelled, n=1)
    return f"; did you mean {spelled[near[0]]}?" if near else ""


class TodobatchError(Exception):
    """The base class of todobatch's errors: what went wrong, where, and what to do about it.

    ``cause`` says what happened, ``place`` where (a file and line, an option, a worker),
    ``remedy`` what to do; the last two may be empty. ``str()`` gives all three.
    """

    exit_code: ClassVar[int] = EXIT_TASKS_FAILED

    def __init__(self, cause: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(cause, place, remedy)
        self.cause = cause
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        # Parts may come from a stranger's file: line breaks in them must not look like ours.
        place, cause, remedy = (
            show_text(part, keep="") for part in (self.place, self.cause, self.remedy)
        )
        text = f"{place}: {cause}" if place else cause
        return f"{text}\n  remedy: {remedy}" if remedy else text

    def __reduce__(self) -> tuple[object, ...]:
        # Unpickling must not call the ``__init__`` of a subclass, which has other arguments.
        return (type(self).__new__, (type(self), *self.args), self.__dict__)


class UsageError(TodobatchError):
    """Raised when an argument is out of range, unknown or contradicts another: correct the call."""

    exit_code = EXIT_USAGE


class InputError(TodobatchError):
    """Raised when the input cannot be read as tasks: correct the file, or name its format."""

    exit_code = EXIT_USAGE


class UnknownFormatError(InputError):
    """Raised when no reader fits the file: name one with `format`."""


class EmptyInputError(InputError):
    """Raised when the input holds no task, so nothing was run: check that it is the right file."""


class BrokenLineError(InputError):
    """Raised when a record of the input is broken and `strict` is true: correct the record.

    Without `strict` the caller gets this error, and the record is skipped. ``line`` counts from 1;
    in a format without lines it is the record's number.
    """

    def __init__(self, cause: str, *, file: str, line: int, remedy: str = "") -> None:
        super().__init__(cause, place=f"{file}:{line}", remedy=remedy)
        self.file = file
        self.line = line


class UnavailableError(TodobatchError):
    """Raised when this machine lacks something that a run needs; the remedy says what to do."""

    exit_code = EXIT_UNAVAILABLE


class InterpreterMissingError(UnavailableError):
    """Raised when an interpreter is not found or does not run: install it or name its path."""


class ExecutorUnavailableError(UnavailableError):
    """Raised when an executor cannot work on the interpreter; change one of the two."""


class ExtraMissingError(UnavailableError):
    """Raised when an optional dependency is not installed: install the named extra."""


class MeasurementError(TodobatchError):
    """Raised when a run was not the one requested; its figures must not be used."""

    exit_code = EXIT_MEASUREMENT


class GilCameBackError(MeasurementError):
    """Raised when the GIL came back on in a free-threaded worker.

    An extension module without support for free threads turns it on: do without that module.
    """


class OutputsDisagreeError(MeasurementError):
    """Raised when two approaches gave different outputs for the same batches.

    Look for shared state, random numbers and clocks in the workload.
    """


class NoProgressError(MeasurementError):
    """Raised when no batch came back within `watchdog_s`; it names the batches in flight.

    The workers may still hang, and nothing waits for them. So the caller should end its process.
    """


class StoreError(TodobatchError):
    """Raised when a file or folder cannot be written or read. What was saved stays saved."""

    exit_code = EXIT_STORE


class NewerSchemaError(StoreError):
    """Raised for a file that a newer todobatch wrote; upgrade todobatch."""


class BuildError(StoreError):
    """Raised when an interpreter cannot be downloaded, verified, built or installed.

    The remedy names what is missing, such as a compiler.
    """
