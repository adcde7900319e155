"""The A/A run: its pairs, their spread, and the differences that it can find."""

import math
import random

import pytest

from tests.tools import made_up
from todobatch.errors import MeasurementError
from todobatch.lab.doctor import noise
from todobatch.lab.doctor.noise import Pair
from todobatch.lab.measure.sample import Sampler, Slot
from todobatch.lab.store.schema import Sample, WorkloadShape


class MadeUpSampler(Sampler):
    """Returns made-up samples; the second of each pair takes twice as long."""

    void: str | None = None

    def take(self, slot: Slot, shape: WorkloadShape, *, number: int) -> Sample:
        object.__setattr__(self, "taken", getattr(self, "taken", 0) + 1)
        wall = 0.3 if self.taken % 2 else 0.6  # type: ignore[attr-defined]
        tasks = shape.batches * shape.batch_size
        return made_up.sample(slot.cell, wall_s=wall, tasks=tasks, void=self.void)


def sampler() -> MadeUpSampler:
    return MadeUpSampler({}, {"kind": "generator", "seed": 0}, "2026-01-05")


def test_which_of_a_pair_is_called_a_is_drawn_so_that_order_makes_no_difference() -> None:
    taken = []
    for pair in noise.measure_pairs(sampler(), "3.14", 1_000.0, random.Random(5)):
        taken.append(pair)
        if len(taken) == 200:
            break
    first = sum(pair.a_s < pair.b_s for pair in taken)
    assert 70 < first < 130
    summary = noise.summarise(taken, "3.14")
    assert summary is not None
    assert summary.mean.low < 0 < summary.mean.high
    assert summary.spread == pytest.approx(math.log(2), rel=0.02)


def test_two_pairs_are_measured_however_short_the_time() -> None:
    taken = list(noise.measure_pairs(sampler(), "3.14", 1e-9, random.Random(5)))
    assert len(taken) == noise.LEAST_PAIRS


def test_a_void_sample_ends_the_a_a_run_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MadeUpSampler, "void", "the GIL was on")
    with pytest.raises(MeasurementError, match="the GIL was on"):
        list(noise.measure_pairs(sampler(), "3.14", 1.0, random.Random(5)))


def test_few_pairs_know_little_of_the_spread() -> None:
    pairs = [Pair(0.30, 0.31, 1.0), Pair(0.31, 0.30, 1.0)]
    few, many = noise.summarise(pairs, "3.14"), noise.summarise(pairs * 50, "3.14")
    assert few is not None
    assert many is not None
    assert few.spread_low < few.spread < few.spread_high
    assert few.spread_high / few.spread > 10  # 31.9 in tables, for one degree of freedom
    assert many.spread_high / many.spread == pytest.approx(1.16, abs=0.01)


def test_one_pair_has_no_spread() -> None:
    assert noise.summarise([Pair(0.3, 0.3, 1.0)], "3.14") is None


def test_an_outlier_counts_in_the_spread_and_not_in_the_robust_one() -> None:
    wobble = (0.300, 0.303, 0.297, 0.301, 0.299, 0.302, 0.298)
    calm = [Pair(a, 0.3, 1.0) for a in wobble]
    summary = noise.summarise([*calm, Pair(0.6, 0.3, 1.0)], "3.14")
    assert summary is not None
    assert summary.spread > 0.2
    assert summary.robust_spread < 0.02


@pytest.mark.parametrize(
    ("count", "effect"),
    # Cohen's tables and G*Power 3.1: matched pairs, two-sided 5 %, power 80 %.
    [(34, 0.5), (15, 0.8), (199, 0.2)],
)
def test_the_smallest_effect_agrees_with_published_sample_sizes(count: int, effect: float) -> None:
    assert noise.smallest_effect(1.0, count) <= effect < noise.smallest_effect(1.0, count - 1)


def test_the_smallest_effect_grows_with_the_spread_and_is_known_for_two_pairs() -> None:
    assert noise.smallest_effect(0.04, 20) == pytest.approx(2 * noise.smallest_effect(0.02, 20))
    assert noise.smallest_effect(0.02, 2) > noise.smallest_effect(0.02, 3) > 0.02


def test_more_time_finds_smaller_differences_and_too_little_finds_none() -> None:
    taken = [Pair(0.3 * (1 + 0.02 * (-1) ** n), 0.3, 8.0) for n in range(20)]
    summary = noise.summarise(taken, "3.14")
    assert summary is not None
    ten_seconds, *longer = summary.detectable
    assert (ten_seconds.pairs, ten_seconds.effect) == (1, None)
    effects = [each.effect for each in longer if each.effect is not None]
    assert len(effects) == 3
    assert effects == sorted(effects, reverse=True)


def test_a_mean_that_is_not_zero_is_a_note() -> None:
    right = noise.summarise([Pair(0.30, 0.31, 1.0), Pair(0.31, 0.30, 1.0)] * 5, "3.14")
    wrong = noise.summarise([Pair(0.306, 0.30, 1.0), Pair(0.308, 0.30, 1.0)] * 5, "3.14")
    assert right is not None
    assert wrong is not None
    assert noise.check(right).severity == "ok"
    assert noise.check(wrong).severity == "note"
    assert "should include 0" in noise.check(wrong).effect


def test_noisy_pairs_are_a_warning_that_names_the_smallest_visible_difference() -> None:
    logs = (-0.33, -0.06, -0.14)
    noisy = noise.summarise([Pair(0.3 * math.exp(each), 0.3, 1.0) for each in logs], "3.14")
    assert noisy is not None
    assert noisy.mean.low < -0.3 < 0.1 < noisy.mean.high
    found = noise.check(noisy)
    assert found.severity == "warning"
    assert f"a difference below {-100 * noisy.mean.low:.0f} %" in found.effect
    assert "--seconds" in found.remedy
