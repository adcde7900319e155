"""CPU time and peak memory of a process tree match a known use."""

import subprocess
import sys
import time

import pytest

from todobatch import probe

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
HOLD = "x = bytearray(60_000_000); print(len(x), flush=True); input()"


def _burn(seconds: float) -> None:
    begun = time.process_time()
    while time.process_time() - begun < seconds:
        pass


def test_cpu_time_of_this_process_is_counted() -> None:
    before = probe.tree_cpu_seconds()
    _burn(0.2)
    assert probe.tree_cpu_seconds() - before == pytest.approx(0.2, rel=0.1)


def test_the_probes_own_cost_is_left_out() -> None:
    before = probe.tree_cpu_seconds()
    begun = time.thread_time()
    for _ in range(30):
        probe.tree_cpu_seconds()
    cost = time.thread_time() - begun
    assert probe.tree_cpu_seconds() - before < cost / 2


def test_cpu_time_of_a_child_is_counted_while_it_lives_and_after() -> None:
    before = probe.tree_cpu_seconds()
    child = subprocess.Popen(
        [sys.executable, "-c", BURN + "print('burnt', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    alive = probe.tree_cpu_seconds() - before
    child.communicate(b"\n")
    after = probe.tree_cpu_seconds() - before
    assert alive >= 0.3
    assert after >= alive - 0.02  # the kernel keeps waited-for children in ticks of 10 ms


def test_the_peak_holds_what_was_freed_and_what_children_hold() -> None:
    base, method = probe.tree_peak()
    assert method == ("pss+hwm" if sys.platform == "linux" else "maxrss+rss")
    block = bytearray(80_000_000)
    del block
    after = probe.tree_peak()[0]
    assert after >= base
    assert after >= 80_000_000
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert probe.tree_peak()[0] >= after + 60_000_000
    child.communicate(b"\n")


SLEEP = "import time\nfor _ in range(50): time.sleep(0.0001)\nprint(flush=True)\ninput()"


def test_context_switches_of_a_child_are_counted_while_it_lives_and_after() -> None:
    before = probe.tree_context_switches()
    child = subprocess.Popen(
        [sys.executable, "-c", SLEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    alive = probe.tree_context_switches()
    child.communicate(b"\n")
    after = probe.tree_context_switches()
    if not before or not alive or not after:
        assert not sys.platform.startswith("linux")
        return
    assert alive[0] - before[0] >= 50  # each sleep gives up the CPU
    assert after[0] >= alive[0]
    assert after[1] >= before[1]
