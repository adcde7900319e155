"""A set of whole numbers that arrive nearly in order, such as the indices of done batches."""

from bisect import bisect_right
from collections.abc import Iterable


class Ranges:
    """A set of whole numbers from 0 up, kept as ranges.

    Memory grows with the gaps between ranges, not with the numbers. Raises ValueError for ranges
    that overlap, touch or are not in order.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # the first number after each range
        for start, end in ranges:
            if start >= end or (self._ends and start <= self._ends[-1]):
                raise ValueError(f"the range {start} to {end} is empty or not in order")
            self._starts.append(start)
            self._ends.append(end)

    def add(self, number: int) -> None:
        """Add a number. Raises ValueError when the set contains it already."""
        at = bisect_right(self._starts, number)
        if at and number < self._ends[at - 1]:
            raise ValueError(f"the set contains {number} already")
        joins_left = at > 0 and self._ends[at - 1] == number
        joins_right = at < len(self._starts) and self._starts[at] == number + 1
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_left:
            self._ends[at - 1] = number + 1
        elif joins_right:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._ends.insert(at, number + 1)

    def without(self, numbers: Iterable[int]) -> "Ranges":
        """Return a set without these numbers, which are in order."""
        kept: list[tuple[int, int]] = []
        pairs = iter(self.pairs())
        start, end = next(pairs, (0, 0))
        for number in numbers:
            while number >= end and start < end:
                kept.append((start, end))
                start, end = next(pairs, (0, 0))
            if start <= number < end:
                if start < number:
                    kept.append((start, number))
                start = number + 1
                if start == end:
                    start, end = next(pairs, (0, 0))
        return Ranges([*kept, *([(start, end)] if start < end else []), *pairs])

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number)
        return at > 0 and number < self._ends[at - 1]

    def __len__(self) -> int:
        return sum(self._ends) - sum(self._starts)

    def pairs(self) -> list[tuple[int, int]]:
        """Return each range as its first number and the number after its last."""
        return list(zip(self._starts, self._ends, strict=True))
