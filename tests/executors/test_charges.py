"""Which batch the death of a worker is charged to, for each state that the worker can be in."""

from types import SimpleNamespace
from typing import cast

import pytest

from todobatch.executors.pool.charges import MOST_UNCHARGED, Charge, Charges
from todobatch.executors.pool.page import Page
from todobatch.executors.pool.worker import Message, PoolWorker
from todobatch.model import Batch, Task

BATCHES = [Batch(n, (Task("a"),), n) for n in range(6)]


def assign(
    charges: Charges,
    running: int,
    *,
    done: int = 0,
    overdue: tuple[int, int] | None = None,
    task: int | None = None,
    broken: bool = False,
) -> Charge:
    """Let a worker die that had accepted message 1 of two with three batches each."""
    messages = {n: Message(BATCHES[3 * n - 3 : 3 * n], b"") for n in (1, 2)}
    messages[1].done = done
    page = SimpleNamespace(running=lambda: (1, running, 0.0), task=lambda: task)
    worker = SimpleNamespace(
        page=page, overdue=overdue, messages=messages, broken=broken, abandoned=set()
    )
    return charges.assign(cast("PoolWorker", worker), "was killed (SIGKILL)")


def test_the_running_batch_is_the_culprit_and_the_others_are_sent_again() -> None:
    charge = assign(Charges(None), running=2, done=1)
    assert charge.culprits == [BATCHES[1]]
    assert charge.suspects == []
    assert charge.others == [[BATCHES[2]], BATCHES[3:]]
    assert (charge.fault, charge.cause) == ("crashed", "its worker was killed (SIGKILL)")


def test_of_a_worker_that_sent_no_results_the_oldest_message_is_the_suspect() -> None:
    charge = assign(Charges(None), running=2, done=1, broken=True)
    assert charge.culprits == []
    assert charge.suspects == BATCHES[1:3]
    assert charge.others == [BATCHES[3:]]


def test_the_task_is_named_unless_the_worker_had_begun_another_batch() -> None:
    assert assign(Charges(None), running=2, task=7).task == 7
    assert assign(Charges(3.0), running=2, overdue=(1, 2), task=7).task == 7
    late = assign(Charges(3.0), running=3, overdue=(1, 2), task=7)
    assert (late.culprits, late.task) == ([BATCHES[1]], None)
    assert assign(Charges(None), running=Page.PICKLING, task=7).task is None


@pytest.mark.parametrize("step", [Page.UNPICKLING, Page.PICKLING, Page.SENDING])
def test_between_batches_each_of_the_message_is_a_suspect(step: int) -> None:
    charge = assign(Charges(None), running=step, done=1)
    assert (charge.culprits, charge.suspects) == ([], BATCHES[1:3])
    assert charge.others == [BATCHES[3:]]


def test_a_worker_that_died_idle_costs_nothing_until_many_did_in_a_row() -> None:
    charges = Charges(None)
    for _ in range(MOST_UNCHARGED):
        charge = assign(charges, running=Page.IDLE)
        assert (charge.culprits, charge.suspects) == ([], [])
        assert charge.others == [BATCHES[:3], BATCHES[3:]]
    charge = assign(charges, running=Page.IDLE)
    assert (charge.suspects, charge.others) == (BATCHES[:3], [BATCHES[3:]])
    charges.uncharged = 0  # a result came in
    assert assign(charges, running=Page.IDLE).suspects == []


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        (2, "it ran longer than its deadline of 3 s, and was stopped"),
        (Page.SENDING, "its worker did not respond for 3 s, and was stopped"),
    ],
)
def test_a_late_worker_is_charged_for_what_it_did_when_it_was_stopped(
    step: int, cause: str
) -> None:
    charge = assign(Charges(3.0), running=Page.IDLE, overdue=(1, step))
    assert (charge.fault, charge.cause) == ("deadline", cause)
    assert charge.culprits or charge.suspects
