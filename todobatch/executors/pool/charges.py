"""Decides which batch a worker's death is charged to.

A worker that dies before it accepts a message was probably ended from outside, so nothing is
charged. This holds for a limited number of deaths in a row. Otherwise a batch that ends each worker
that it reaches would be sent for ever.
"""

from dataclasses import dataclass, field

from todobatch.executors.pool.page import Page
from todobatch.executors.pool.worker import PoolWorker
from todobatch.model import Batch, Fault
from todobatch.units import Seconds

MOST_UNCHARGED = 10
"""After this many deaths in a row without any result, the next one is charged to a batch."""

_ANY_OF_THEM = {Page.UNPICKLING, Page.PICKLING, Page.SENDING}
"""If a worker dies in one of these steps, any batch of its message may be the cause."""


@dataclass(slots=True)
class Charge:
    """What to do with the batches that a dead worker had not returned."""

    cause: str
    fault: Fault = "crashed"
    culprits: list[Batch] = field(default_factory=list)
    """The batch that it was running, which has failed; at most one."""
    task: int | None = None
    """The place in that batch of the task that it was running, from 0, if that is known."""
    suspects: list[Batch] = field(default_factory=list)
    """Batches of which one may be the cause, so each is to be run by itself."""
    others: list[list[Batch]] = field(default_factory=list)
    """The batches of each message that are to be sent again."""


class Charges:
    """Charges the deaths of a pool's workers to batches."""

    def __init__(self, deadline_s: Seconds | None) -> None:
        self._deadline_s = deadline_s
        self.uncharged = 0
        """How many deaths in a row were not charged; the pool sets it to 0 with each result."""

    def assign(self, worker: PoolWorker, ending: str) -> Charge:
        """Return what is to be done with the worker's batches; `ending` says how it ended."""
        accepted, running, _ = worker.page.running()
        at_death = accepted, running
        charge = Charge(f"its worker {ending}")
        if worker.broken:
            return self._assign_broken(worker, charge)
        if worker.overdue:
            (accepted, running), charge.fault = worker.overdue, "deadline"
            waits = running in {Page.IDLE, Page.SENDING}
            what = (
                "its worker did not respond for" if waits else "it ran longer than its deadline of"
            )
            charge.cause = f"{what} {self._deadline_s:g} s, and was stopped"
        for number, message in worker.messages.items():
            left = message.batches[message.done :]
            place = running - 1 - message.done
            if number == accepted and running in _ANY_OF_THEM:
                charge.suspects = left
                continue
            if number == accepted and 0 <= place < len(left):
                charge.culprits = [left.pop(place)]
                if (accepted, running) == at_death:  # a late worker may have begun another batch
                    charge.task = worker.page.task()
            if left:
                charge.others.append(left)
        return self._limit_uncharged(charge)

    def _assign_broken(self, worker: PoolWorker, charge: Charge) -> Charge:
        """Charge a worker whose socket carried other bytes than results.

        The bytes came before the results of the oldest message, so one of its batches is the cause.
        Which batch the worker ran when it was stopped says nothing about that.
        """
        charge.others = [each.batches[each.done :] for each in worker.messages.values()]
        if charge.others and not worker.abandoned:
            charge.suspects = charge.others.pop(0)
        return self._limit_uncharged(charge)

    def _limit_uncharged(self, charge: Charge) -> Charge:
        if charge.others and not (charge.culprits or charge.suspects):
            self.uncharged += 1
            if self.uncharged > MOST_UNCHARGED:
                charge.suspects = charge.others.pop(0)
        return charge
