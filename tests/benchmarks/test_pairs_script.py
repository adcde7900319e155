"""`benchmarks.peers.pairs` reads its peers' verdicts; a command of the docs runs the script."""

import math

import pytest

from benchmarks.peers import known, pairs
from benchmarks.peers.pairs import Answer

COMPARED = """
All benchmarks:

| Change | Before [d2d376d3] <a> | After [ea6956b1] <b> |   Ratio | Benchmark (Parameter)          |
|--------|-----------------------|----------------------|---------|--------------------------------|
| +      | 520±2μs               | 580±2μs              |    1.12 | bench.Work.time_work('json/10')|
|        | 520±3μs               | 519±4μs              |    1    | bench.Work.time_work('json/0') |
| -      | 520±3μs               | 419±4μs              |    0.81 | bench.Work.time_work('json/2') |
|        | 520±2μs               | 551±2μs              | ~1.06   | bench.Work.time_work('json/5') |
"""


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("json/10", "slower"), ("json/0", "same"), ("json/2", "faster"), ("json/5", "same")],
)
def test_a_line_of_asv_compare_is_read(name: str, verdict: str) -> None:
    assert pairs.asv_verdict(COMPARED, name) == verdict


def test_an_unknown_answer_ends_it() -> None:
    with pytest.raises(SystemExit, match="does not name text/0"):
        pairs.asv_verdict(COMPARED, "text/0")
    with pytest.raises(SystemExit, match="something unknown"):
        pairs.pyperf_verdict("a haiku")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (
            "Mean +- std dev: [a] 1.02 ms +- 0.03 ms -> [b] 1.13 ms +- 0.02 ms: 1.11x slower",
            "slower",
        ),
        (
            "Mean +- std dev: [a] 1.02 ms +- 0.03 ms -> [b] 0.93 ms +- 0.02 ms: 1.10x faster",
            "faster",
        ),
        ("Benchmark hidden because not significant (1): work", "same"),
    ],
)
def test_an_answer_of_pyperf_is_read(said: str, verdict: str) -> None:
    assert pairs.pyperf_verdict(said) == verdict


def test_the_table_counts_alarms_and_differences_found() -> None:
    answers = [
        Answer("todobatch", "json", 0, 0, "same", 2.0),
        Answer("todobatch", "json", 5, 0, "slower", 2.0),
        Answer("other", "json", 0, 0, "faster", 8.0),
        Answer("other", "json", 5, 0, "faster", 8.0),
    ]
    text = pairs.table(answers)
    assert "| tool | A/A false alarms | +5 % found | called faster | s a pair |" in text
    assert "| todobatch | 0 of 1 [0, 98 %] | 1 of 1 [3, 100 %] | 0 | 2.0 |" in text
    assert "| other | 1 of 1 [3, 100 %] | 0 of 1 [0, 98 %] | 1 | 8.0 |" in text
    assert "other takes 4.00 times" in text


@pytest.mark.parametrize("work", known.WORKS)
def test_the_known_work_is_as_much_more_as_it_says(
    work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1

    _, times = known.WORKS[work]
    monkeypatch.setitem(known.WORKS, work, (count, times))
    done = {}
    for effect in known.EFFECTS:
        calls = 0
        getattr(known, f"{work}_{effect}")(None)
        done[effect] = calls
    assert done[0] == times
    for effect in known.EFFECTS:
        assert math.isclose(done[effect], times * (1 + effect / 100))
