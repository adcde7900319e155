"""The files of /proc and /sys are read as the kernel writes them."""

import getpass
import json
import math
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.doctor.machines import MUTE, python
from todobatch.lab.doctor import checks, system
from todobatch.lab.store import machine

DESCRIBED = {
    "cpus": 4,
    "cpus_available": 4,
    "virtualised": None,
    "turbo": None,
}
FILES = {
    "proc/stat": "cpu  100 0 50 800 20 0 5 25 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n",
    "proc/loadavg": "0.52 0.40 0.30 1/100 4242\n",
    "proc/pressure/cpu": "some avg10=24.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00\n",
    "proc/vmstat": "pgpgin 5\npswpin 3\npswpout 4\n",
    "proc/meminfo": "MemTotal: 9 kB\nSwapTotal:   100 kB\nSwapFree:     60 kB\n",
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/a/cpu.stat": "nr_periods 9\nnr_throttled 6\n",
    "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "2\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count": "3\n",
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "57500\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_files_of_a_system_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    root = tree(tmp_path, FILES)
    facts = system.gather(system.take_snapshot(root), DESCRIBED, root=root)
    seen = facts.before
    assert (seen.load, seen.pressure) == (0.52, 0.245)
    assert (seen.ticks, seen.stolen) == (1_000, 25)
    assert (seen.throttled, seen.swapped, seen.overheated) == (6, 7, 5)
    assert facts.governors == ("performance", "schedutil")
    assert (facts.quota, facts.swap_used) == (1.5, 40 * 1024)
    assert (facts.hottest_c, facts.on_battery) == (57.5, True)


def test_without_these_files_everything_is_unknown(tmp_path: Path) -> None:
    facts = system.gather(system.take_snapshot(tmp_path), DESCRIBED, root=tmp_path)
    assert replace(facts.before, at=0.0) == MUTE
    settings = (facts.governors, facts.quota, facts.swap_used)
    assert (*settings, facts.hottest_c, facts.on_battery) == (None,) * 5


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        # The first version of control groups has a folder a controller, and -1 for no limit.
        ({"proc/self/cgroup": "1:cpu:/\n0::/\n", "sys/fs/cgroup/cpu/tasks": ""}, math.inf),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        # In a container the path is often the host's, and the mount is our own group.
        (
            {
                "proc/self/cgroup": "0::/docker/4f\n",
                "sys/fs/cgroup/cgroup.controllers": "cpu",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "cpu"}, math.inf),
        ({"proc/self/cgroup": "0::/\n"}, None),
    ],
)
def test_the_least_quota_of_all_groups_above_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert system._quota(tree(tmp_path, files)) == quota


def test_what_is_found_on_this_machine_names_nobody_and_no_folder() -> None:
    facts = system.gather(system.take_snapshot(), machine.describe(), (python("3.14"),))
    text = json.dumps(checks.as_dictionaries(checks.examine(facts)))
    assert f'"{socket.gethostname()}"' not in text
    assert f'"{getpass.getuser()}"' not in text
    assert re.search(r"(?<![\w.])/[\w.]+/", text) is None
