"""A lock that is released between the check and the act protects neither.

Two workers claim tasks. They ask "is it free?" under the lock, and say "it is mine" under the lock
again. Each step is safe alone. Together they are not: both workers may ask before one has claimed.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from examples.pitfalls.stage import play, side_by_side

WORKERS = 2
TASKS = 50_000
MOST_ROUNDS = 20


class Claims:
    """Which worker owns which task. `_lock` guards `_owned` and `claims`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owned: set[int] = set()
        self.claims: list[int] = []

    def claim_in_two_steps(self, task: int, between: Callable[[], object] | None = None) -> None:
        """Check and claim under the lock in two steps; others may claim while `between` runs."""
        with self._lock:
            free = task not in self._owned
        if between is not None:
            between()
        if free:
            with self._lock:
                self._owned.add(task)
                self.claims.append(task)

    def claim(self, task: int) -> None:
        """Check and claim while the lock is held throughout."""
        with self._lock:
            if task not in self._owned:
                self._owned.add(task)
                self.claims.append(task)


@dataclass(frozen=True, slots=True)
class Seen:
    """How many tasks were claimed, and how many of them by both workers."""

    way: str
    tasks: int
    claimed_twice: int
    rounds: int = 1


def forced() -> Seen:
    """Hold both workers between check and claim, so that both claim one task on any Python."""
    claims, both_have_asked = Claims(), threading.Barrier(WORKERS)
    side_by_side([lambda: claims.claim_in_two_steps(7, both_have_asked.wait)] * WORKERS)
    return Seen("two steps, both between them", 1, _twice(claims.claims))


def by_chance(way: str, claim: Callable[[Claims, int], None], most_rounds: int) -> Seen:
    """Let both workers claim all tasks, round after round, until a task is claimed twice."""
    twice, rounds = 0, 0
    while not twice and rounds < most_rounds:
        claims = Claims()

        def work(claims: Claims = claims) -> None:
            for task in range(TASKS):
                claim(claims, task)

        side_by_side([work] * WORKERS)
        assert len(set(claims.claims)) == TASKS
        twice, rounds = _twice(claims.claims), rounds + 1
    return Seen(way, TASKS, twice, rounds)


def _twice(claims: Sequence[int]) -> int:
    return sum(times > 1 for times in Counter(claims).values())


def see() -> tuple[Seen, Seen, Seen]:
    """Claim in two steps (forced, then by chance), then in one, and return what happened."""
    apart = by_chance("two steps, as it comes", Claims.claim_in_two_steps, MOST_ROUNDS)
    whole = by_chance("one step", Claims.claim, max(5, apart.rounds))
    return forced(), apart, whole


def show() -> int:
    """Print what was seen. The exit code is 1 when the right way claimed a task twice."""
    seen = see()
    print(f"{WORKERS} workers claim the same tasks; each task is to be claimed once\n")
    for each in seen:
        print(f"{each.way:<30} {each.tasks:>7,} tasks {each.claimed_twice:>7,} claimed twice   "
              f"round {each.rounds}")  # fmt: skip
    print("\nThe lock must be held from the check to the end of the act.")
    return 1 if seen[2].claimed_twice else 0


if __name__ == "__main__":
    sys.exit(play("lock_scope", __doc__, show))
