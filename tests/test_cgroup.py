"""The CPU quota is the smallest one of a control group and its parents, in both versions."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from todobatch import cgroup

V2 = "sys/fs/cgroup/cgroup.controllers"
OWN = "proc/self/cgroup"
V1_BASE = Path("/sys/fs/cgroup/cpu")
PRINT_QUOTA = "import sys; sys.stdin.readline(); from todobatch import cgroup; "


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        pytest.param(
            {
                OWN: "0::/a/b/c\n",
                V2: "cpu memory\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/b/c/cpu.max": "300000 100000\n",
            },
            1.5,
            id="v2: a parent grants less than the group itself",
        ),
        pytest.param(
            {
                OWN: "0::/a/b\n",
                V2: "cpu\n",
                "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n",
            },
            0.5,
            id="v2: the group itself grants least",
        ),
        pytest.param(
            {
                OWN: "3:cpu,cpuacct:/x/y\n0::/\n",
                "sys/fs/cgroup/cpu/x/y/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/x/y/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
            id="v1: only a parent has a limit",
        ),
        pytest.param(
            {
                OWN: "0::/docker/4f\n",
                V2: "cpu",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
            },
            0.5,
            id="a container sees the host's path, and its own group as the mount",
        ),
        pytest.param({OWN: "1:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/tasks": ""}, None, id="v1: none"),
        pytest.param({OWN: "0::/\n", V2: "cpu"}, None, id="v2: no limit"),
        pytest.param({OWN: "0::/\n"}, None, id="no control groups"),
        pytest.param({}, None, id="no files at all"),
    ],
)
def test_the_least_quota_of_the_chain_holds(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert cgroup.cpu_quota(tree(tmp_path, files)) == quota


def test_the_chain_begins_with_the_own_group_and_ends_at_the_mount(tmp_path: Path) -> None:
    root = tree(tmp_path, {OWN: "0::/a/b\n", V2: "", "sys/fs/cgroup/a/b/cpu.max": "max 100000"})
    mount = root / "sys/fs/cgroup"
    assert cgroup.folders(root) == [mount / "a/b", mount / "a", mount]


@pytest.fixture
def nested_group() -> Iterator[Path]:
    """Make a real control group without a limit inside one that grants 1.5 CPUs."""
    mount, enable = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cgroup.subtree_control")
    base = mount if enable.exists() else V1_BASE
    outer = base / f"todobatch-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        inner.mkdir()
        if base is mount:
            (outer / "cpu.max").write_text("150000 100000")
        else:
            (outer / "cpu.cfs_quota_us").write_text("150000")
        yield inner
    finally:
        for group in (inner, outer):
            if group.exists():
                group.rmdir()


def test_a_process_in_a_real_nested_group_sees_its_parents_quota(nested_group: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PRINT_QUOTA + "print(cgroup.cpu_quota())"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    (nested_group / "cgroup.procs").write_text(str(process.pid))
    seen, _ = process.communicate("go\n", timeout=60)
    assert float(seen) == 1.5
