"""A plan has the chosen cells, the size of samples, and the order of samples."""

from dataclasses import replace

import pytest

from tests.tools.made_up import CELLS, SEQ, THREADS, meta, sample
from todobatch.errors import ExecutorUnavailableError, UsageError
from todobatch.executors import EXECUTORS
from todobatch.lab.measure import schedule
from todobatch.lab.measure.calibrate import choose
from todobatch.lab.plan.cells import Choice, draft
from todobatch.lab.store.schema import Cell, Plan
from todobatch.processors import WORKLOADS

NOTHING_MISSING: dict[str, str | None] = dict.fromkeys(EXECUTORS)
BOTH = {"3.14": NOTHING_MISSING, "3.14t": NOTHING_MISSING}


def drafted(**choice: object) -> Plan:
    return draft(Choice(**choice), BOTH)  # type: ignore[arg-type]


def test_without_any_choice_the_run_is_quick() -> None:
    assert drafted().mode == "quick"
    assert drafted(seed=4).mode == "quick"


def test_choosing_cells_makes_the_run_custom_unless_a_mode_is_named() -> None:
    assert drafted(workers=(2,)).mode == "custom"
    assert drafted(workers=(2,), mode="full").mode == "full"


def test_quick_covers_both_interpreters_computing_and_waiting_within_its_budget() -> None:
    quick = drafted(mode="quick")
    assert {cell.interpreter for cell in quick.cells} == {"3.14", "3.14t"}
    assert {cell.workload for cell in quick.cells} == {"example8", "io-wait"}
    assert {cell.executor for cell in quick.cells} == EXECUTORS.keys() - {"stealing", "elastic"}
    assert {cell.workers for cell in quick.cells} == {1, 2, 4}
    assert quick.blocks >= 4
    assert quick.budget_s <= 150
    # What is left out for want of time is said.
    assert [what for what, _ in quick.left_out] == [
        "stealing × example8",
        "stealing × io-wait",
        "elastic × example8",
        "elastic × io-wait",
        "coroutines × example8",
        "interpreters × io-wait",
    ]


def test_full_is_every_workload_executor_and_number_of_workers() -> None:
    full = drafted(mode="full")
    assert (full.blocks, full.budget_s, full.target) == (40, 3600.0, 0.02)
    assert full.left_out == ()
    pools = len(EXECUTORS) - 1
    assert len(full.cells) == len(WORKLOADS) * 2 * (1 + pools * 4)
    assert len(set(full.cells)) == len(full.cells)


def test_sequential_is_always_measured_once_an_interpreter() -> None:
    cells = drafted(executors=("threads",), workloads=("validate",), workers=(2, 8)).cells
    sequential = [cell for cell in cells if cell.executor == "sequential"]
    assert sequential == [Cell("validate", spec, "sequential", 1) for spec in ("3.14", "3.14t")]
    assert len(cells) == 6


def test_an_executor_that_cannot_work_is_left_out_with_the_reason() -> None:
    reason = "InterpreterPoolExecutor needs Python 3.14; this is 3.13"
    available = {"3.13": {**NOTHING_MISSING, "interpreters": reason}, "3.14": NOTHING_MISSING}
    made = draft(Choice(workloads=("validate",)), available)
    assert made.left_out == (("interpreters on 3.13", reason),)
    kept = {(cell.interpreter, cell.executor) for cell in made.cells}
    assert ("3.13", "interpreters") not in kept
    assert ("3.14", "interpreters") in kept


@pytest.mark.parametrize(
    ("choice", "place"),
    [
        ({"workers": (0,)}, "`workers`"),
        ({"workers": (2, 10_000)}, "`workers`"),
        ({"workloads": ("nonsense",)}, "`workload`"),
        ({"workloads": ("no/such.py:thing",)}, "`workload`"),
        ({"workloads": ("no.such:",)}, "`workload`"),
        ({"executors": ("nonsense",)}, "`executor`"),
        ({"blocks": 0}, "`blocks`"),
        ({"budget_s": 0.0}, "`budget_s`"),
        ({"budget_s": float("nan")}, "`budget_s`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(choice: dict[str, object], place: str) -> None:
    with pytest.raises(UsageError) as caught:
        drafted(**choice)
    assert caught.value.place == place
    assert caught.value.remedy


@pytest.mark.parametrize("seconds", [1e-7, 3e-6, 2e-4, 5e-3, 0.3, 20.0])
@pytest.mark.parametrize("workload", ["example8", "io-wait", "mine:function"])
def test_a_sample_has_batches_that_2_4_and_8_workers_can_share(
    workload: str, seconds: float
) -> None:
    shape = choose(workload, seconds)
    assert shape.batches % 8 == 0
    assert 8 <= shape.batches <= 40
    assert shape.batch_size >= 1


def test_a_computing_sample_lasts_about_a_second_in_batches_of_a_hundred() -> None:
    shape = choose("example8", 0.0003)
    assert shape.batch_size == 100
    assert 0.8 < shape.batches * shape.batch_size * 0.0003 < 1.2


def test_a_batch_size_that_was_asked_for_is_kept() -> None:
    assert choose("example8", 0.0003, 7).batch_size == 7
    light = choose("validate", 1e-6, 7)
    assert light.batch_size == 7
    assert light.batches == 1024


def test_a_block_has_every_cell_once_in_an_order_that_the_seed_fixes() -> None:
    plan = meta().plan
    assert sorted(schedule.order(plan, 0)) == sorted(CELLS)
    assert schedule.order(plan, 0) == schedule.order(plan, 0)
    orders = {tuple(schedule.order(plan, block)) for block in range(8)}
    assert len(orders) > 4
    assert schedule.order(replace(plan, seed=99), 0) != schedule.order(plan, 0)


def test_a_slot_with_a_good_sample_is_not_measured_again() -> None:
    plan = meta().plan
    taken = [sample(cell) for cell in CELLS if cell != THREADS]
    assert [slot.cell for slot in schedule.missing(plan, taken, 0)] == [THREADS]
    assert len(schedule.missing(plan, taken, 1)) == len(CELLS)


def test_a_void_sample_is_measured_again_at_most_twice_and_the_cell_then_given_up() -> None:
    plan = meta().plan
    twice = [sample(SEQ, void="bad"), sample(SEQ, void="bad")]
    assert SEQ in {slot.cell for slot in schedule.missing(plan, twice, 0)}
    thrice = [*twice, sample(SEQ, void="bad")]
    assert SEQ not in {slot.cell for slot in schedule.missing(plan, thrice, 0)}
    assert SEQ not in {slot.cell for slot in schedule.missing(plan, thrice, 4)}
    assert schedule.given_up(plan, thrice) == [SEQ]
    assert schedule.given_up(plan, twice) == []


def test_a_run_in_which_nothing_that_was_asked_for_can_be_measured_is_refused() -> None:
    old = {**NOTHING_MISSING, "interpreters": "it needs Python 3.14"}
    with pytest.raises(ExecutorUnavailableError) as caught:
        draft(Choice(executors=("interpreters",)), {"3.11": old})
    assert "interpreters on 3.11: it needs Python 3.14" in caught.value.cause
    assert caught.value.exit_code == 4
    part = draft(Choice(executors=("interpreters",)), {"3.11": old, "3.14": NOTHING_MISSING})
    assert ("interpreters on 3.11", "it needs Python 3.14") in part.left_out
    assert {cell.executor for cell in part.cells if cell.interpreter == "3.11"} == {"sequential"}
    sequential = draft(Choice(executors=("interpreters", "sequential")), {"3.11": old})
    assert {cell.executor for cell in sequential.cells} == {"sequential"}


def test_a_workload_is_left_out_where_it_cannot_be_loaded() -> None:
    lacking = {("own:f", "3.14"): "No module named 'x'"}
    plan = draft(Choice(workloads=("own:f", "validate")), BOTH, unloadable=lacking)
    where = {(cell.workload, cell.interpreter) for cell in plan.cells}
    assert where == {("own:f", "3.14t"), ("validate", "3.14"), ("validate", "3.14t")}
    assert plan.left_out == (("own:f on 3.14", "No module named 'x'"),)
