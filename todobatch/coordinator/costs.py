"""Keeps how long each batch took, in a small JSON file, for ``order="longest"``.

    {"format": "todobatch costs", "version": 1, "processor": "pipeline", "batches": [
    [0, 0, 100, 0.012345],
    [1, 100, 100, 0.2]
    ]}

The numbers of a batch are its index, its first task's position, its number of tasks, and the
seconds that a worker spent on it. With a GIL these include waiting for other threads. A batch is
not measured if a task of it was set aside or a worker was lost to it.

The file is replaced as a whole, so a reader never finds a partial one. If two runs write the same
file, the last one wins. The file holds `MOST_BATCHES` batches at most.

The thread that reads the input uses `Costs.known`; the thread that receives results uses the rest.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from todobatch.errors import NewerSchemaError, StoreError, UsageError
from todobatch.files import is_folder, read_regular, write_atomically
from todobatch.model import Batch
from todobatch.units import Bytes, Seconds

FORMAT = "todobatch costs"
VERSION = 1
MOST_BATCHES = 100_000
"""A file holds at most this many batches, which take about 4 MB on disk and 40 MB in memory."""
LARGEST: Bytes = 32_000_000
"""A larger file is refused."""
_FIELDS = ("the batch's index", "its first task", "its number of tasks", "its seconds")


class Costs:
    """The costs in a file, and those that a run measures. As a context manager it saves at the end.

    A file that does not exist holds no costs. With `batch_size`, the file's batches must have that
    size. Raises UsageError for another batch size, NewerSchemaError for a newer file, and
    StoreError for a file that cannot be read or written, or has another format.
    """

    def __init__(self, path: Path | str, *, batch_size: int | None = None) -> None:
        self.path = Path(path)
        self.processor: str | None = None
        """The id of the processor that was measured; None in a new file."""
        self._rows: dict[int, tuple[int, int, Seconds]] = {}
        self._measured: dict[int, tuple[int, int, Seconds]] = {}
        self._load(batch_size)
        self._check_folder()
        self.known: dict[int, Seconds] = {index: row[2] for index, row in self._rows.items()}
        """Seconds by batch index, from the file. `fitting` removes those that do not fit."""
        self.before = len(self._rows)
        """How many batches the file held when it was opened."""
        self._saved_early = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._saved_early:
            return
        try:
            self.save()
        except StoreError:
            if error is None:  # otherwise the earlier error is raised
                raise

    def save_early(self) -> StoreError | None:
        """Save now and not at the end. Returns the error of a file that cannot be written."""
        self._saved_early = True
        try:
            self.save()
        except StoreError as error:
            return error
        return None

    @property
    def measured(self) -> int:
        """Return how many batches were measured since the file was opened."""
        return len(self._measured)

    def of(self, processor: str) -> Self:
        """Return this object. Raises UsageError when the costs are those of another processor."""
        if self.processor is not None and self.processor != processor:
            raise UsageError(
                f"the costs are those of {self.processor!r}, but the job runs {processor!r}",
                place=f"`costs` {self.path}",
                remedy="name another file for this workload",
            )
        self.processor = processor
        return self

    def fitting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and forget the costs of those whose tasks differ from the file's."""
        for batch in batches:
            row = self._rows.get(batch.index)
            if row is not None and row[:2] != (batch.first, len(batch)):
                self.known.pop(batch.index, None)
            yield batch

    def note(self, batch: Batch, seconds: Seconds) -> None:
        """Remember how long a batch took."""
        if 0 <= batch.index < MOST_BATCHES and 0 <= seconds < 1e15:
            self._measured[batch.index] = (batch.first, len(batch), seconds)

    def save(self) -> None:
        """Write the latest cost of each batch. Raises StoreError."""
        known = self.known.copy()  # an abandoned worker may read the input meanwhile
        rows = {index: row for index, row in self._rows.items() if index in known}
        rows |= self._measured
        lines = [
            json.dumps([index, first, tasks, round(seconds, 6)])
            for index, (first, tasks, seconds) in sorted(rows.items())
        ]
        head = json.dumps({"format": FORMAT, "version": VERSION, "processor": self.processor})
        text = f'{head[:-1]}, "batches": [\n' + ",\n".join(lines) + "\n]}\n"
        try:
            write_atomically(self.path, text.encode())
        except OSError as error:
            raise self._unwritable(error, "; the rest of the run is done and saved") from error

    def _check_folder(self) -> None:
        """Raise StoreError if no file can be made beside the costs, before any work is done."""
        try:
            with tempfile.TemporaryFile(dir=self.path.resolve().parent):
                pass
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError, done: str = "") -> StoreError:
        return StoreError(
            f"the costs cannot be written: {error.strerror}",
            place=f"`costs` {self.path}",
            remedy=f"name a file in a folder where you may create files{done}",
        )

    def _load(self, batch_size: int | None) -> None:
        text = self._text()
        if text is None:
            return
        whole = self._parsed(text)
        self.processor, batches = whole.get("processor"), whole.get("batches")
        if not isinstance(self.processor, str | None) or len(self.processor or "") > 4_096:
            raise self._refused("it is not text, or it is too long", ", processor")
        if not isinstance(batches, list):
            raise self._refused("it is not a list", ", batches")
        for number, row in enumerate(batches):
            self._add(row, f", batches[{number}]", batch_size)

    def _text(self) -> str | None:
        """Return the file's text, or None when there is no file yet."""
        if not is_folder(self.path.resolve().parent) or is_folder(self.path):
            raise UsageError(
                "it is a folder" if is_folder(self.path) else "there is no such folder",
                place=f"`costs` {self.path}",
                remedy="name a file in a folder that exists",
            )
        try:
            return read_regular(self.path, most=LARGEST).decode("utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise self._refused(f"it is not text in UTF-8: {error}") from error

    def _parsed(self, text: str) -> dict[str, Any]:
        """Return the file's JSON object, if this version can read it."""
        try:
            whole = json.loads(text)
        except json.JSONDecodeError as error:
            place = f", line {error.lineno}, column {error.colno}"
            raise self._refused(f"it is not JSON: {error.msg}", place) from error
        except (ValueError, RecursionError) as error:
            raise self._refused(f"it is not JSON: {error}") from error
        if not isinstance(whole, dict) or whole.get("format") != FORMAT:
            raise self._refused(f'it has no "format": "{FORMAT}"')
        version = whole.get("version")
        if version != VERSION:
            raise NewerSchemaError(
                f"it has version {version!r}, and this todobatch knows {VERSION}",
                place=f"`costs` {self.path}",
                remedy="use the todobatch that wrote it, or name another file",
            )
        return whole

    def _add(self, row: Any, place: str, batch_size: int | None) -> None:
        if not isinstance(row, list) or len(row) != len(_FIELDS):
            raise self._refused(f"it is not [{', '.join(_FIELDS)}]", place)
        for name, value in zip(_FIELDS, row, strict=True):
            whole = name != _FIELDS[-1]
            if type(value) not in ((int,) if whole else (int, float)) or not 0 <= value < 1e15:
                kind = "whole number" if whole else "number"
                raise self._refused(f"{name} is {value!r}, not a {kind} from 0 up", place)
        index, first, tasks, seconds = row
        if index >= MOST_BATCHES or index in self._rows:
            why = "occurs twice" if index in self._rows else f"is not below {MOST_BATCHES}"
            raise self._refused(f"batch {index} {why}", place)
        if batch_size is not None and not (first == index * batch_size and tasks <= batch_size):
            raise UsageError(
                f"batch {index} begins at task {first} and has {tasks} tasks; with `batch_size` "
                f"{batch_size} it begins at task {index * batch_size}",
                place=f"`costs` {self.path}{place}",
                remedy="pass the `batch_size` that was measured, or name another file",
            )
        self._rows[index] = (first, tasks, float(seconds))

    def _refused(self, cause: str, place: str = "") -> StoreError:
        return StoreError(
            cause,
            place=f"`costs` {self.path}{place}",
            remedy="name another file; or remove this one if it is yours, to measure again",
        )
