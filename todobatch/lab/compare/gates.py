"""Gates: make a comparison fail when B is slower, or less efficient, by more than a limit."""

from collections.abc import Iterable
from dataclasses import dataclass

from todobatch.errors import UsageError
from todobatch.lab.compare.compare import Row, RunComparison
from todobatch.units import Ratio


@dataclass(frozen=True, slots=True)
class Gate:
    """A limit, and the cells that exceed it."""

    option: str
    """The option with its limit, as the user wrote it."""
    limit: Ratio
    workers: int | None
    """The number of workers of the checked cells; None if all cells were checked."""
    checked: int
    undecided: int
    """The number of checked cells that are inconclusive."""
    failed: tuple[str, ...]


def gate_on_slower(comparison: RunComparison, limit: Ratio, option: str) -> Gate:
    """Fail each cell whose whole interval is slower by more than `limit`."""
    rows = comparison.rows
    failed = [row.name for row in _decided(rows) if row.ratio.low > 1 + limit]
    return Gate(option, limit, None, len(rows), _undecided(rows), tuple(failed))


def gate_on_efficiency(
    comparison: RunComparison, limit: Ratio, workers: int | None, option: str
) -> Gate:
    """Fail each cell whose whole interval shows that efficiency fell by more than `limit`.

    Raises UsageError if no cell has that many workers and a sequential run.
    """
    rows = [
        row
        for row in comparison.efficiency
        if workers is None or (row.cell is not None and row.cell.workers == workers)
    ]
    if not rows:
        which = "with several workers" if workers is None else f"with {workers} workers"
        raise UsageError(
            f"no cell {which} has a sequential run in the same blocks of both runs",
            place=option,
            remedy="compare run folders in which such cells and sequential runs were measured",
        )
    failed = [row.name for row in _decided(rows) if row.ratio.high < 1 - limit]
    return Gate(option, limit, workers, len(rows), _undecided(rows), tuple(failed))


def _decided(rows: Iterable[Row]) -> list[Row]:
    # Equivalent rows count too, because a difference within 2 % may exceed a limit of 1 %.
    return [row for row in rows if row.verdict in {"slower", "equivalent"}]


def _undecided(rows: Iterable[Row]) -> int:
    return sum(row.verdict == "inconclusive" for row in rows)
