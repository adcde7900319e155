"""The loop that takes samples: with a sampler that answers at once, as the plan says."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.made_up import CELLS, FREE, meta, sample
from todobatch.lab import schedule, store
from todobatch.lab.sample import Sampler, Slot
from todobatch.lab.schedule import Progress
from todobatch.lab.schema import Sample, WorkloadShape


class Scripted(Sampler):
    """Answers as it is told to, without a process."""

    def __init__(self, answer: Callable[[Slot], str | None]) -> None:
        super().__init__({}, {"kind": "generator"}, "2026-01-05")
        object.__setattr__(self, "answer", answer)

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        void: str | None = self.answer(slot)  # type: ignore[attr-defined]
        return sample(slot.cell, block=slot.block, number=number, void=void, process_s=1.0)


def ignore(progress: Progress) -> None:
    pass


def take_all(
    folder: Path, answer: Callable[[Slot], str | None], *, blocks: int = 2, budget_s: float = 0.0
) -> list[Sample]:
    with store.create(folder, meta(blocks=blocks, budget_s=budget_s)) as opened:
        return list(schedule.run(opened, Scripted(answer), ignore))


def test_every_cell_is_taken_once_a_block_in_its_order(tmp_path: Path) -> None:
    taken = take_all(tmp_path / "run", lambda _: None)
    plan = meta(blocks=2).plan
    assert [each.cell for each in taken] == [*schedule.order(plan, 0), *schedule.order(plan, 1)]
    assert store.load(tmp_path / "run").samples == taken


def test_a_sample_is_saved_before_the_next_begins(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    saved = []

    def look(slot: Slot) -> None:
        saved.append(len(store.load(folder).samples))

    take_all(folder, look, blocks=1)
    assert saved == list(range(len(CELLS)))


def test_a_void_sample_is_taken_again_at_once(tmp_path: Path) -> None:
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
    with store.open_run(folder) as opened:
        opened.update(plan=meta(blocks=5, budget_s=10.0).plan)
        assert list(schedule.run(opened, Scripted(lambda _: None), ignore)) == []
    with store.open_run(folder) as opened:
        opened.update(plan=meta(blocks=2, budget_s=13.0).plan)
        assert len(list(schedule.run(opened, Scripted(lambda _: None), ignore))) == len(CELLS)


def test_an_unfinished_block_is_finished_before_others_whatever_the_budget(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with store.create(folder, meta(blocks=2, budget_s=1.0)) as opened:
        first = schedule.run(opened, Scripted(lambda _: None), ignore)
        for _ in range(4):
            next(first)
    with store.open_run(folder) as opened:
        rest = list(schedule.run(opened, Scripted(lambda _: None), ignore))
    assert [each.block for each in rest] == [0] * (len(CELLS) - 4)


def test_progress_tells_where_the_run_stands(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with store.create(tmp_path / "run", meta(blocks=2)) as opened:
        list(schedule.run(opened, Scripted(lambda _: None), seen.append))
    assert [each.taken for each in seen] == list(range(2 * len(CELLS)))
    assert seen[0].left_s != seen[0].left_s  # nothing is known yet
    assert seen[1].left_s == pytest.approx(11.0)
    assert seen[-1].left_s == pytest.approx(1.0)
