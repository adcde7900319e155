"""The loop takes samples as the plan says, with a fake sampler that answers at once."""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tools.made_up import CELLS, FREE, PROCESSES, SEQ, SEQ_T, THREADS, meta, sample
from todobatch.lab.measure import schedule
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.measure.schedule import Upcoming
from todobatch.lab.stats import verdict
from todobatch.lab.store.folder import CONTROLS, Run, load_run
from todobatch.lab.store.schema import Cell, Sample, WorkloadShape
from todobatch.lab.store.writer import create_run, open_run


class Scripted(Sampler):
    """A sampler that returns the given answers, without a process."""

    def __init__(self, answer: Callable[[Slot], str | None]) -> None:
        super().__init__({}, {"kind": "generator"}, "2026-01-05")
        object.__setattr__(self, "answer", answer)

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        void: str | None = self.answer(slot)  # type: ignore[attr-defined]
        return sample(slot.cell, block=slot.block, number=number, void=void, process_s=1.0)


def ignore(upcoming: Upcoming) -> None:
    pass


def take_all(
    folder: Path, answer: Callable[[Slot], str | None], *, blocks: int = 2, budget_s: float = 0.0
) -> list[Sample]:
    with create_run(folder, meta(blocks=blocks, budget_s=budget_s)) as opened:
        return list(schedule.run(opened, Scripted(answer), ignore))


def test_every_cell_is_measured_once_a_block_in_its_order(tmp_path: Path) -> None:
    taken = take_all(tmp_path / "run", lambda _: None)
    plan = meta(blocks=2).plan
    assert [each.cell for each in taken] == [*schedule.order(plan, 0), *schedule.order(plan, 1)]
    assert load_run(tmp_path / "run").samples == taken


def test_a_sample_is_saved_before_the_next_begins(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    saved = []

    def look(slot: Slot) -> None:
        saved.append(len(load_run(folder).samples))

    take_all(folder, look, blocks=1)
    assert saved == list(range(len(CELLS)))


def test_a_void_sample_is_measured_again_at_once(tmp_path: Path) -> None:
    answers = iter(["bad luck", "again", None])
    taken = take_all(
        tmp_path / "run", lambda slot: next(answers) if slot.cell == FREE else None, blocks=1
    )
    mine = [each for each in taken if each.cell == FREE]
    assert [each.void for each in mine] == ["bad luck", "again", None]
    numbers = [each.number for each in mine]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_a_cell_that_is_always_void_costs_three_attempts_and_no_more(tmp_path: Path) -> None:
    taken = take_all(
        tmp_path / "run", lambda slot: "crash" if slot.cell == FREE else None, blocks=4
    )
    assert sum(each.cell == FREE for each in taken) == schedule.ATTEMPTS
    assert sum(each.cell != FREE for each in taken) == 4 * (len(CELLS) - 1)


@pytest.mark.parametrize(("budget_s", "blocks"), [(1.0, 1), (0.0, 9)])
def test_no_block_is_begun_that_would_not_fit_but_the_first(
    tmp_path: Path, budget_s: float, blocks: int
) -> None:
    # A block takes 6 samples of 1 s by their own account; taking them takes no time here.
    taken = take_all(tmp_path / "run", lambda _: None, blocks=9, budget_s=budget_s)
    assert [each.block for each in taken[:: len(CELLS)]] == list(range(blocks))
    assert len(taken) == blocks * len(CELLS)


def test_what_earlier_sessions_took_is_counted_against_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    take_all(folder, lambda _: None, blocks=1)
    with open_run(folder) as opened:
        opened.update(plan=meta(blocks=5, budget_s=10.0).plan)
        assert list(schedule.run(opened, Scripted(lambda _: None), ignore)) == []
    with open_run(folder) as opened:
        opened.update(plan=meta(blocks=2, budget_s=13.0).plan)
        assert len(list(schedule.run(opened, Scripted(lambda _: None), ignore))) == len(CELLS)


def test_an_unfinished_block_is_finished_before_others_whatever_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with create_run(folder, meta(blocks=2, budget_s=1.0)) as opened:
        first = schedule.run(opened, Scripted(lambda _: None), ignore)
        for _ in range(4):
            next(first)
    with open_run(folder) as opened:
        rest = list(schedule.run(opened, Scripted(lambda _: None), ignore))
    assert [each.block for each in rest] == [0] * (len(CELLS) - 4)


def test_progress_reports_block_sample_and_time_left(tmp_path: Path) -> None:
    seen: list[Upcoming] = []
    with create_run(tmp_path / "run", meta(blocks=2)) as opened:
        list(schedule.run(opened, Scripted(lambda _: None), seen.append))
    places = [(each.slot.block, each.index, each.cells) for each in seen]
    count = len(CELLS)
    assert places == [(block, index, count) for block in range(2) for index in range(count)]
    assert seen[0].left_s != seen[0].left_s  # nothing is known yet
    assert seen[1].left_s == pytest.approx(11.0)
    assert seen[-1].left_s == pytest.approx(1.0)


# Samples go where the doubt is --------------------------------------------------------------------


class Timed(Sampler):
    """A sampler whose times are a function of the cell and the block."""

    def __init__(self, walls: Mapping[Cell, float], wobble: float) -> None:
        super().__init__({}, {"kind": "generator"}, "2026-01-05")
        object.__setattr__(self, "walls", walls)
        object.__setattr__(self, "wobble", wobble)

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        wall = self.walls[slot.cell]  # type: ignore[attr-defined]
        by_lot = random.Random(f"{slot.block}/{slot.cell.key}").uniform(-1, 1)
        wall_s = wall * (1 + self.wobble * by_lot)  # type: ignore[attr-defined]
        return sample(slot.cell, block=slot.block, number=number, wall_s=wall_s)


WALLS = dict.fromkeys(CELLS, 1.0) | {FREE: 0.50, PROCESSES: 0.505}


def timed_run(folder: Path, wobble: float, *, blocks: int = 30, target: float = 0.02) -> Run:
    with create_run(folder, meta(blocks=blocks, target=target)) as opened:
        list(schedule.run(opened, Timed(WALLS, wobble), ignore))
        return opened.run()


def blocks_of(run: Run) -> dict[Cell, int]:
    return {cell: sum(each.cell == cell for each in run.samples) for cell in CELLS}


def test_cells_that_are_clearly_beaten_stop_early_and_the_others_go_on(tmp_path: Path) -> None:
    taken = blocks_of(timed_run(tmp_path / "run", 0.05))
    assert taken[FREE] == taken[PROCESSES] == max(taken.values())
    assert taken[THREADS] < taken[FREE]
    # What speed-ups are against goes on with those that it is compared with.
    assert taken[SEQ] == taken[SEQ_T] == taken[FREE]


def test_a_run_ends_once_every_comparison_is_decided_or_precise(tmp_path: Path) -> None:
    calm = timed_run(tmp_path / "calm", 0.005)
    loud = timed_run(tmp_path / "loud", 0.2)
    assert max(blocks_of(calm).values()) < 30
    assert max(blocks_of(loud).values()) == 30
    assert verdict.undecided(calm, "example8", 0.02) == ()


def test_without_a_target_every_cell_is_in_every_block(tmp_path: Path) -> None:
    assert set(blocks_of(timed_run(tmp_path / "run", 0.005, blocks=9, target=0.0)).values()) == {9}


def test_a_resumed_block_is_about_the_same_cells(tmp_path: Path) -> None:
    whole = timed_run(tmp_path / "whole", 0.05)
    with create_run(tmp_path / "cut", meta(blocks=30, target=0.02)) as opened:
        for count, _ in enumerate(schedule.run(opened, Timed(WALLS, 0.05), ignore)):
            if count == len(CELLS) * 5 + 2:
                break
    with open_run(tmp_path / "cut") as opened:
        list(schedule.run(opened, Timed(WALLS, 0.05), ignore))
        resumed = opened.run()
    assert [(s.block, s.cell) for s in resumed.samples] == [
        (s.block, s.cell) for s in whole.samples
    ]


def test_the_control_load_is_measured_around_each_block_and_kept(tmp_path: Path) -> None:
    run = timed_run(tmp_path / "run", 0.05, blocks=2)
    assert [(each.block, each.when) for each in run.controls] == [
        *((0, "start"), (0, "end"), (1, "start"), (1, "end"))
    ]
    assert all(each.wall_s > 0 for each in run.controls)
    assert load_run(tmp_path / "run").controls == run.controls


def test_a_torn_control_is_left_out_and_cut_off(tmp_path: Path) -> None:
    run = timed_run(tmp_path / "run", 0.05, blocks=1)
    with open(tmp_path / "run" / CONTROLS, "ab") as file:
        file.write(b'{"schema":1,"blo')
    assert load_run(tmp_path / "run").controls == run.controls
    with open_run(tmp_path / "run") as opened:
        assert tuple(opened.controls) == run.controls
    assert (tmp_path / "run" / CONTROLS).read_bytes().endswith(b"}\n")


def test_workloads_stand_together_in_a_block() -> None:
    cells = tuple(replace(cell, workload=name) for name in ("a", "b", "c") for cell in CELLS)
    plan = meta(cells=cells).plan
    for block in range(5):
        names = [cell.workload for cell in schedule.order(plan, block)]
        assert len(list(itertools.groupby(names))) == 3
    orders = {tuple(schedule.order(plan, block)) for block in range(5)}
    assert len(orders) == 5


def test_the_least_time_of_a_block_shares_each_sample_among_the_workers() -> None:
    plan = meta().plan
    seconds = {shape.workload: shape.calibrated_s for shape in plan.shapes}
    expected = sum(seconds[cell.workload] / cell.workers for cell in plan.cells)
    assert schedule.least_block_s(plan) == pytest.approx(expected)
    assert 0 < expected < sum(seconds[cell.workload] for cell in plan.cells)


def test_a_budget_below_one_block_is_warned_of() -> None:
    assert schedule.beyond_budget(1.0, 9.04, 16.0) == (
        "the budget of 1.00 s is too short: 9.04 s are spent, and a block takes at least 16.0 s; "
        "one block is measured anyway"
    )
