"""Reads CSV with a header line whose columns are named like `Task`'s fields, in any order and case.

A quoted field may hold line ends. A quote that is never closed would consume the rest of the file,
so a record has at most 10,000 characters. The first line of a longer one is reported as broken, and
reading continues with the next line.
"""

import csv
from collections import deque
from collections.abc import Iterator

from todobatch.errors import InputError
from todobatch.model import Task
from todobatch.sources.base import Input, Reading, read_lines
from todobatch.sources.fields import LONGEST_LINE, FieldError, show
from todobatch.sources.records import NAMES, task_from
from todobatch.units import show_count


def read(source: Input, reading: Reading) -> Iterator[Task]:
    """Yield the tasks of a CSV input; blank lines and rows of empty cells are skipped.

    Raises InputError when the header has no title column or names a column twice.
    """
    rows = _Rows(source, reading)
    header: list[str] | None = None
    for number, row in rows:
        if header is None:
            header = _header(row, number, reading)
            continue
        try:
            yield task_from(_named(header, row))
        except FieldError as error:
            reading.broken_field(number, error)


def _header(row: list[str], number: int, reading: Reading) -> list[str]:
    header = [name.strip().lower() for name in row]
    place = f"{reading.file}:{number}"
    if "title" not in header:
        separator = next((s for s in ";\t|" if any(s in name for name in header)), None)
        hint = f"; this one seems to be separated by {separator!r}, not ','" if separator else ""
        raise InputError(
            f"the header has no column 'title': {show(','.join(row))}",
            place=place,
            remedy=f"the first line names the columns: {', '.join(NAMES)}{hint}",
        )
    twice = sorted({name for name in header if name in NAMES and header.count(name) > 1})
    if twice:
        raise InputError(
            f"the header names the column {twice[0]!r} twice",
            place=place,
            remedy="rename or remove one of the two columns",
        )
    for name in header:
        if name not in NAMES:
            reading.skip(f"unknown column {show(name)}")
    return header


def _named(header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise FieldError(
            f"the row has {show_count(len(row), 'field')}, the header has {len(header)}",
            "put fields that contain a comma in double quotes",
        )
    return dict(zip(header, row, strict=True))


class _Rows:
    """Yields rows, each with the number of its first line.

    Each row has its own csv reader, so the lines of a broken row can be read again.
    """

    def __init__(self, source: Input, reading: Reading) -> None:
        self._reading = reading
        self._lines = read_lines(source, reading)
        self._put_back: deque[tuple[int, str]] = deque()

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            used: list[tuple[int, str]] = []
            try:
                row = next(csv.reader(self._feed(used), strict=True), None)
            except csv.Error as error:
                number = used[0][0]
                self._put_back.extendleft(reversed(used[1:]))
                self._reading.broken(number, _explain(error, used), "double a quote inside quotes")
                continue
            if row is None:
                return
            if any(cell.strip() for cell in row):
                yield used[0][0], row

    def _feed(self, used: list[tuple[int, str]]) -> Iterator[str]:
        """Yield the lines of one record, at most 10,000 characters, and append them to `used`."""
        room = LONGEST_LINE
        while room > 0:
            line = self._put_back.popleft() if self._put_back else next(self._lines, None)
            if line is None:
                return
            used.append(line)
            room -= len(line[1]) + 1
            yield line[1] + "\n"


def _explain(error: csv.Error, used: list[tuple[int, str]]) -> str:
    if "unexpected end of data" in str(error):
        return f"a quote that is opened here is not closed by line {used[-1][0]}"
    return f"the line is not CSV: {error}"
