"""What the doctor reads from the system: counters that change, and settings that do not.

    /proc, /sys ─► Snapshot ×2 ┐
    machine.describe() ────────┼─► Facts ─► todobatch.lab.doctor.checks
    interpreters ──────────────┘

Whatever the system does not report is None.
"""

import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from todobatch import cgroup
from todobatch.files import read_or_none
from todobatch.lab.interpreters import Interpreter
from todobatch.units import Bytes, Ratio, Seconds


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters since boot, and load averages, at one moment."""

    at: Seconds
    """The time of the snapshot on a monotonic clock."""
    load: float | None
    """Running and waiting threads, averaged over the last minute."""
    pressure: Ratio | None
    """Share of the last 10 s in which a thread waited for a CPU."""
    ticks: int | None
    """CPU time of all CPUs, in clock ticks."""
    stolen: int | None
    """Ticks in which the hypervisor ran something else."""
    throttled: int | None
    """The number of times that a cgroup's CPU quota stopped this process."""
    swapped: int | None
    """Pages swapped in or out."""
    overheated: int | None
    """The number of times that a CPU slowed itself down because of heat."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the checks read."""

    before: Snapshot
    after: Snapshot
    cpus: int | None
    cpus_available: int
    virtualised: str | None
    """The name of a hypervisor, 'container', or None without a sign of either."""
    governors: tuple[str, ...] | None
    turbo: bool | None
    quota: float | None
    """CPUs granted by the cgroup; infinite without a limit."""
    swap_used: Bytes | None
    hottest_c: float | None
    """The highest temperature of any sensor, in degrees Celsius."""
    on_battery: bool | None
    interpreters: tuple[Interpreter, ...]
    missing: tuple[str, ...] = ()
    """Interpreters that were asked for and not found."""


def take_snapshot(root: Path = Path("/")) -> Snapshot:
    """Read all counters; this takes a few milliseconds. `root` contains ``proc`` and ``sys``."""
    proc = root / "proc"
    times = _numbers(r"\Acpu" + 8 * r" +(\d+)", proc / "stat")  # user time includes guest time
    pressure = _number(r"some avg10=(\S+)", proc / "pressure/cpu")
    stats = [folder / "cpu.stat" for folder in cgroup.folders(root)]
    heat = _cpu_files(root, "thermal_throttle/core_throttle_count")
    return Snapshot(
        at=time.monotonic(),
        load=_number(r"(\S+)", proc / "loadavg"),
        pressure=None if pressure is None else pressure / 100,
        ticks=_sum(times),
        stolen=_sum(times[7:]),
        throttled=_sum(_number(r"nr_throttled (\d+)", each) for each in stats),
        swapped=_sum(_number(rf"^{name} (\d+)", proc / "vmstat") for name in ("pswpin", "pswpout")),
        overheated=_sum(_number(r"(\d+)", each) for each in heat),
    )


def gather(
    before: Snapshot,
    described: Mapping[str, Any],
    interpreters: Sequence[Interpreter] = (),
    missing: Sequence[str] = (),
    *,
    root: Path = Path("/"),
) -> Facts:
    """Collect the facts for the checks. `described` comes from `machine.describe`."""
    governors = [read_or_none(path) for path in _cpu_files(root, "cpufreq/scaling_governor")]
    return Facts(
        before=before,
        after=take_snapshot(root),
        cpus=described["cpus"],
        cpus_available=described["cpus_available"],
        virtualised=described["virtualised"],
        governors=tuple(sorted({each for each in governors if each})) or None,
        turbo=described["turbo"],
        quota=_quota(root),
        swap_used=_swap_used(root / "proc/meminfo"),
        hottest_c=_hottest(root),
        on_battery=_on_battery(root),
        interpreters=tuple(interpreters),
        missing=tuple(missing),
    )


def _cpu_files(root: Path, name: str) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))


def _numbers(pattern: str, path: Path) -> list[float]:
    """Return the numbers in the groups of a pattern that is searched in a file; empty if none."""
    found = re.search(pattern, read_or_none(path) or "", re.MULTILINE)
    try:
        return [float(group) for group in found.groups()] if found else []
    except ValueError:
        return []


def _number(pattern: str, path: Path) -> float | None:
    return next(iter(_numbers(pattern, path)), None)


def _sum(values: Iterable[float | None]) -> int | None:
    """Return the sum of the known values; None when none is known."""
    known = [value for value in values if value is not None]
    return int(sum(known)) if known else None


def _quota(root: Path) -> float | None:
    """Return the CPUs that the cgroups grant; infinite without a limit, None if unknown."""
    if not cgroup.folders(root):
        return None
    quota = cgroup.cpu_quota(root)
    return math.inf if quota is None else quota


def _swap_used(meminfo: Path) -> Bytes | None:
    total, free = (_number(rf"^Swap{name}: +(\d+)", meminfo) for name in ("Total", "Free"))
    return None if total is None or free is None else int(total - free) * 1024


def _hottest(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = (_number(r"(\S+)", path) for path in zones)
    return max((each / 1000 for each in degrees if each is not None), default=None)


def _on_battery(root: Path) -> bool | None:
    folder = root / "sys/class/power_supply"
    if not folder.is_dir():
        return None
    return any(
        read_or_none(each / "type") == "Battery"
        and read_or_none(each / "scope") != "Device"  # a mouse has a battery too
        and read_or_none(each / "status") == "Discharging"
        for each in folder.iterdir()
    )
