"""Two threads count tasks in one number: without a lock some are lost, with a lock none.

``done += 1`` has three steps: read, add, write. When both threads read the same number, both write
the same number, and one task is not counted. The program repeats the count until a loss is seen, at
most 20 times.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from examples.pitfalls.stage import play, side_by_side
from todobatch import runtime

THREADS = 2
COUNTS = 200_000  # for each thread
MOST_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one way to count."""

    way: str
    rounds: int
    expected: int
    """What one round counts, if nothing is lost."""
    counted: int
    """What the last round came to."""

    @property
    def lost(self) -> int:
        """Tasks that were done and not counted."""
        return self.expected - self.counted


class Tally:
    """A number that all threads change."""

    def __init__(self) -> None:
        self.done = 0


def count(tally: Tally, lock: AbstractContextManager[object], times: int) -> None:
    """Count the given number of tasks, each under the lock, or under its stand-in."""
    for _ in range(times):
        with lock:
            tally.done += 1


def count_bare(tally: Tally, times: int) -> None:
    """Count without any lock, as people do whom a GIL has always protected."""
    for _ in range(times):
        tally.done += 1


def count_by_call(tally: Tally, times: int) -> None:
    """Count without a lock, with a call between read and write, where a GIL may change threads."""
    for _ in range(times):
        tally.done = _one_more(tally.done)


def _one_more(number: int) -> int:
    return number + 1


def until_lost(way: str, work: Callable[[Tally], None], most_rounds: int = MOST_ROUNDS) -> Seen:
    """Count in threads, round after round, until a count is lost or the rounds are over."""
    expected = THREADS * COUNTS
    counted, rounds = expected, 0
    while counted == expected and rounds < most_rounds:
        tally = Tally()
        side_by_side([lambda tally=tally: work(tally)] * THREADS)  # type: ignore[misc]
        counted, rounds = tally.done, rounds + 1
    return Seen(way, rounds, expected, counted)


def see() -> tuple[Seen, Seen, Seen]:
    """Count without a lock, without one and with a call in between, and with the lock."""
    lock = threading.Lock()
    bare = until_lost("no lock", lambda tally: count_bare(tally, COUNTS))
    called = until_lost("no lock, a call between", lambda tally: count_by_call(tally, COUNTS))
    # As often as it took to lose one without it, and five times at least.
    rounds = max(5, bare.rounds)
    locked = until_lost("with a lock", lambda tally: count(tally, lock, COUNTS), rounds)
    return bare, called, locked


def show() -> int:
    """Print what was seen. The exit code is 1 when a count was lost in spite of the lock."""
    bare, called, locked = see()
    print(f"{THREADS} threads count {bare.expected:,} tasks together; tried until one is lost\n")
    for seen in (bare, called, locked):
        print(f"{seen.way:<24} {seen.counted:>9,} counted {seen.lost:>9,} lost   "
              f"round {seen.rounds}")  # fmt: skip
    print()
    if bare.lost:
        print("Without the lock updates are lost: both threads read the same number.")
    elif runtime.gil_enabled():
        print("Without the lock none was lost here: this GIL was not handed over between reading\n"
              "and writing. Nothing promises that" + (
              ", and with a call in between it was." if called.lost else "."))  # fmt: skip
    else:
        print("Without the lock none was lost here, which proves nothing: the threads did not meet."
              f"\nThey had {runtime.cpus_available()} CPUs.")  # fmt: skip
    if locked.lost:
        print("With the lock some were lost: this must not be.")
        return 1
    print(f"With the lock none is lost, in {locked.rounds} rounds.")
    return 0


if __name__ == "__main__":
    sys.exit(play("race", __doc__, show))
