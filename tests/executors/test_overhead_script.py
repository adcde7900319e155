"""benchmarks/peers/overhead.py, run small."""

import sys

import pytest

from benchmarks.peers import overhead
from todobatch.executors import EXECUTORS

ARGUMENTS = ["--rounds", "2", "--tasks", "300", "--seed", "7"]


@pytest.mark.controller
@pytest.mark.timeout(300)
def test_the_script_sets_each_executor_beside_its_peers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert overhead.main([*ARGUMENTS, "--interpreter", sys.executable]) == 0
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][1:]
    here = {name for name, each in EXECUTORS.items() if each.available() is None}
    assert here <= {way for _, way, *_ in rows}
    for kind, way, time, ratio in rows:
        assert float(time) > 0
        compared = way in here and kind.strip("| ") in {"threads", "processes"}
        assert ("to" in ratio) is compared
    shown = {way for _, way, *_ in rows}
    for name, (*_, need) in overhead.PEERS.items():
        assert (name in shown) is not (f"Left out: {name}, which needs {need}." in printed)


def test_peers_must_give_the_right_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "trivial_chunk", lambda tasks: 0)
    with pytest.raises(AssertionError):
        overhead.child("ThreadPoolExecutor.map, chunked by hand", 300, 2)
