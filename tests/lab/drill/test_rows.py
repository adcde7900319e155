"""The row of a record counts every lost and every duplicated task."""

from typing import Any

import pytest

from tests.lab.drill.records import STRUCK, TASKS, record_of, rowed
from todobatch.child.faults import FAULTS
from todobatch.executors.base import Capabilities
from todobatch.lab.drill import rows


def test_a_task_that_is_neither_done_nor_set_aside_is_lost() -> None:
    row = rowed(record_of(without=[3, STRUCK]))
    assert (row.done, row.lost, row.recovery_s) == (TASKS - 2, 2, None)
    assert not row.claim_holds


def test_a_task_that_is_done_twice_fails_its_claim() -> None:
    record = record_of()
    record.add({"event": "done", "tasks": [5], "at": 12.0})
    row = rowed(record)
    assert (row.done, row.duplicated) == (TASKS, 1)
    assert not row.claim_holds


def test_a_task_that_is_done_and_failed_too_fails_its_claim() -> None:
    record = record_of()
    record.add({"event": "failed", "tasks": [STRUCK], "error": "and failed", "at": 12.0})
    row = rowed(record)
    assert (row.done, row.set_aside, row.duplicated, row.lost) == (TASKS, 0, 1, 0)
    assert not row.claim_holds


def test_a_run_that_does_all_and_never_ends_fails_its_claim() -> None:
    record = record_of()
    assert rowed(record).claim_holds
    record.end("hung", "no result came back for 15 s, and it was ended")
    assert not rowed(record).claim_holds


def test_only_the_struck_task_may_be_set_aside() -> None:
    record = record_of(without=[3, STRUCK])
    record.add({"event": "failed", "tasks": [STRUCK], "error": "its own", "at": 13.0})
    record.add({"event": "failed", "tasks": [3], "error": "innocent", "at": 13.0})
    row = rowed(record)
    assert (row.set_aside, row.lost) == (1, 1)
    assert row.note == "other tasks failed too: innocent"


def test_a_struck_task_with_the_error_of_all_others_is_lost() -> None:
    record = record_of(without=[3, STRUCK])
    record.add({"event": "failed", "tasks": [3, STRUCK], "error": "the pool broke", "at": 13.0})
    assert (rowed(record).set_aside, rowed(record).lost) == (0, 2)


def test_recovery_is_from_the_strike_to_the_outcome_of_the_struck_task() -> None:
    record = record_of(without=[STRUCK])
    record.add({"event": "failed", "tasks": [STRUCK], "error": "poison", "at": 12.5})
    assert rowed(record, "poison").recovery_s == 2.5
    assert rowed(record_of()).recovery_s == 1.0


def test_a_fault_that_did_not_strike_proves_nothing() -> None:
    row = rowed(record_of(struck=None))
    assert (row.lost, row.recovery_s, row.claim_holds) == (0, None, False)
    assert row.note == "the fault did not strike"


def test_a_coordinator_that_counts_otherwise_fails_its_claim() -> None:
    record = record_of()
    record.add({"event": "report", "done": TASKS, "failed": 0, "at": 12.0})
    assert rowed(record).claim_holds
    record.add({"event": "report", "done": TASKS - 1, "failed": 1, "at": 12.0})
    assert not rowed(record).claim_holds


def test_what_comes_back_for_a_task_that_failed_is_no_result() -> None:
    record = record_of(without=[STRUCK])
    record.add({"event": "unexpected", "tasks": [STRUCK], "error": "None came back", "at": 12.0})
    row = rowed(record, "out-of-memory")
    assert (row.done, row.lost, row.note) == (TASKS - 1, 1, "None came back")


def test_a_peer_claims_nothing() -> None:
    row = rowed(record_of(without=[3]), claims=False, peer="m:f", executor="some pool")
    assert (row.peer, row.isolates, row.claim_holds) == (True, False, True)
    assert rowed(record_of(), claims=False, peer="m:f").isolates


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_what_an_executor_claims_follows_from_its_capabilities(fault: Any) -> None:
    def able(*, crashes: bool, deadlines: bool) -> Capabilities:
        return Capabilities(crashes, deadlines, True, False, True)

    need = fault.needs
    assert rows.isolates(able(crashes=True, deadlines=False), fault) == (need != "deadline")
    assert rows.isolates(able(crashes=False, deadlines=True), fault) == (need != "crashes")
    assert rows.isolates(able(crashes=True, deadlines=True), fault)
