"""The CPUs that two busy threads get are measured, in short and in long samples."""

import pytest

from todobatch.lab.doctor import parallelism
from todobatch.lab.doctor.checks import UNKNOWN
from todobatch.lab.doctor.parallelism import Parallelism
from todobatch.lab.interpreters import Interpreter


@pytest.mark.parametrize(
    ("short", "long", "severity", "effect"),
    [
        ((1.9, 1.95, 1.99), (1.98, 1.97, 1.99), "ok", ""),
        ((1.0, 1.1, 1.9), (1.98, 1.97, 1.99), "warning", "The system keeps short-lived"),
        ((1.80, 1.85, 1.99), (1.98, 1.97, 1.99), "note", "The system keeps short-lived"),
        ((1.2, 1.1, 1.3), (1.2, 1.3, 1.2), "warning", "Even long samples do not get two CPUs"),
        ((1.1, 1.9, 1.9), (1.98, 1.97, 1.99), "note", "Sometimes"),
        ((), (), "note", ""),
    ],
)
def test_the_cpus_that_two_busy_processes_got_are_checked(
    short: tuple[float, ...], long: tuple[float, ...], severity: str, effect: str
) -> None:
    finding = parallelism.check(Parallelism(short, long), 2)
    assert finding.severity == severity
    assert finding.effect.startswith(effect)


def test_one_cpu_gives_a_note() -> None:
    finding = parallelism.check(Parallelism((1.0,), (1.0,)), 1)
    assert (finding.severity, finding.seen) == ("note", "there is only one CPU")


def test_two_busy_processes_are_measured_really() -> None:
    (used,) = parallelism.measure_once(None, 0.05)
    assert 0 < used < 3


@pytest.mark.interpreters
def test_two_free_threads_are_measured_where_there_are_any(python314t: Interpreter) -> None:
    seen = parallelism.measure(python314t.executable, 1)
    assert 0 < seen.short[0] < 3
    assert "two busy threads used" in parallelism.check(seen, 2).seen


def test_processes_that_do_not_answer_leave_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallelism, "_BUSY", "raise SystemExit(1)")
    assert parallelism.measure_once(None, 0.05) == []
    assert parallelism.check(parallelism.measure(None, 1), 2).seen == UNKNOWN
