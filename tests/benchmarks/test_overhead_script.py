"""benchmarks/peers/overhead.py runs on a small load and prints its table."""

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
    for name, peer in overhead.PEERS.items():
        left_out = f"Left out: {name}, which needs {peer.needs}." in printed
        assert left_out is not (f"| {name} |" in printed)


@pytest.mark.controller
@pytest.mark.timeout(300)
def test_large_tasks_go_through_what_copies_them(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--payload", "100", "--back", "--tasks", "20", "--rounds", "2"]
    assert overhead.main([*arguments, "--interpreter", sys.executable]) == 0
    printed = capsys.readouterr().out
    assert "| processes | processes |" in printed
    assert "| processes | joblib loky |" in printed
    assert "threads" not in printed


def test_peers_must_give_the_right_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overhead, "several", lambda work, tasks: [0])
    with pytest.raises(AssertionError):
        overhead.child("ThreadPoolExecutor.map, chunked by hand", overhead.Load(300), 2)
