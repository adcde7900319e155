"""What the doctor reads from the system: counters that change, and settings that do not.

    /proc, /sys ─► Snapshot ×2 ┐
    machine.describe() ────────┼─► Facts ─► todobatch.lab.doctor.checks
    interpreters ──────────────┘

Whatever the system does not report is None.
"""

import math
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
    ticks, stolen = _cpu_times(read_or_none(root / "proc/stat"))
    vmstat = read_or_none(root / "proc/vmstat")
    heat = _cpu_files(root, "thermal_throttle/core_throttle_count")
    return Snapshot(
        at=time.monotonic(),
        load=_number(_word(read_or_none(root / "proc/loadavg"), 0)),
        pressure=_pressure(read_or_none(root / "proc/pressure/cpu")),
        ticks=ticks,
        stolen=stolen,
        throttled=_sum(
            _counter(read_or_none(folder / "cpu.stat"), "nr_throttled")
            for folder in cgroup.folders(root)
        ),
        swapped=_sum(_counter(vmstat, name) for name in ("pswpin", "pswpout")),
        overheated=_sum(_whole(read_or_none(path)) for path in heat),
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
        swap_used=_swap_used(read_or_none(root / "proc/meminfo")),
        hottest_c=_hottest(root),
        on_battery=_on_battery(root),
        interpreters=tuple(interpreters),
        missing=tuple(missing),
    )


def _cpu_files(root: Path, name: str) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))


def _word(text: str | None, place: int) -> str | None:
    words = (text or "").split()
    return words[place] if place < len(words) else None


def _number(word: str | None) -> float | None:
    try:
        return None if word is None else float(word)
    except ValueError:
        return None


def _whole(word: str | None) -> int | None:
    number = _number(word)
    return None if number is None else int(number)


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum of the known values; None when none is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _counter(text: str | None, name: str) -> int | None:
    """Return a number from a file that has one name and one number per line."""
    for line in (text or "").splitlines():
        if line.startswith(f"{name} "):
            return _whole(_word(line, 1))
    return None


def _cpu_times(stat: str | None) -> tuple[int | None, int | None]:
    """Return the ticks of all CPUs and the stolen ones. User time includes guest time."""
    words = (stat or "").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None, None
    ticks = [int(word) for word in words[1:9]]
    return sum(ticks), ticks[7]


def _pressure(text: str | None) -> Ratio | None:
    """Return 0.2474 for ``some avg10=24.74 …`` (the kernel's Documentation/accounting/psi.rst)."""
    for word in (text or "").partition("\n")[0].split():
        if word.startswith("avg10="):
            percent = _number(word.removeprefix("avg10="))
            return None if percent is None else percent / 100
    return None


def _quota(root: Path) -> float | None:
    """Return the CPUs that the cgroups grant; infinite without a limit, None if unknown."""
    if not cgroup.folders(root):
        return None
    quota = cgroup.cpu_quota(root)
    return math.inf if quota is None else quota


def _swap_used(meminfo: str | None) -> Bytes | None:
    total, free = (_counter(meminfo, f"Swap{name}:") for name in ("Total", "Free"))
    return None if total is None or free is None else (total - free) * 1024


def _hottest(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [_number(read_or_none(path)) for path in zones]
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
