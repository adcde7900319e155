"""What about this machine stands in the way of sure figures, what it does to them, and the remedy.

    /proc, /sys ─► Snapshot ×2 ┐
    machine.describe() ────────┼─► Facts ─► CHECKS ─► Finding, one a check
    interpreters ──────────────┘

Each check is a pure function of the facts. What a system does not tell is None in the facts and
`UNTOLD` in the finding: it is neither good nor bad. What is measured rather than read is in
`todobatch.lab.doctor.together` and `todobatch.lab.doctor.noise`.

A finding is stored with a run, and a run is made to be published: no host or user name and no
absolute path may be in one.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from todobatch import cgroup
from todobatch.files import read_or_none as _read
from todobatch.lab.interpreters import SPECS, Interpreter, differences
from todobatch.lab.interpreters.specs import spec_of
from todobatch.lab.store import machine
from todobatch.units import Bytes, Ratio, Seconds, show_bytes, show_percent, show_seconds

UNTOLD = "the system does not tell"

BUSY: Ratio = 0.25
"""Load a CPU, or share of time in which something waited for a CPU: above, others are working."""
STOLEN: Ratio = 0.01  # of all CPU time; below, it is within what a sample's spread shows anyway
HOT_C = 90.0  # most CPUs begin to slow down between 90 and 105 °C

Severity = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    name: str
    severity: Severity
    seen: str
    effect: str = ""
    """What it does to measurements; empty where it does nothing."""
    remedy: str = ""
    """A command, or what to do instead."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What moves: counters since boot and averages, at one moment. None: not told."""

    at: Seconds  # a monotonic clock's
    load: float | None  # running and waiting, mean of the last minute
    pressure: Ratio | None  # of the last 10 s in which something waited for a CPU
    ticks: int | None  # of CPU time, all CPUs
    stolen: int | None  # of these, by the hypervisor
    throttled: int | None  # times that a cgroup's quota stopped us
    swapped: int | None  # pages in and out
    overheated: int | None  # times that a CPU slowed itself down for heat


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the checks judge. None: the system does not tell."""

    before: Snapshot
    after: Snapshot
    cpus: int | None
    cpus_available: int
    virtualised: str | None  # None: no sign of it
    packing: str | None  # '': the kernel tells, and there is none
    governors: tuple[str, ...] | None
    turbo: bool | None
    quota: float | None  # in CPUs; infinite: there is none
    swap_used: Bytes | None
    hottest_c: float | None
    on_battery: bool | None
    interpreters: tuple[Interpreter, ...]
    missing: tuple[str, ...] = ()  # specs that were wanted and are not here


# Reading ------------------------------------------------------------------------------------------


def snapshot(root: Path = Path("/")) -> Snapshot:
    """Read everything that moves; some file reads, well under a millisecond each."""
    ticks, stolen = _cpu_times(_read(root / "proc/stat"))
    return Snapshot(
        at=time.monotonic(),
        load=_number(_word(_read(root / "proc/loadavg"), 0)),
        pressure=_pressure(_read(root / "proc/pressure/cpu")),
        ticks=ticks,
        stolen=stolen,
        throttled=_sum(
            _counter(_read(folder / "cpu.stat"), "nr_throttled") for folder in cgroup.folders(root)
        ),
        swapped=_sum(_counter(_read(root / "proc/vmstat"), name) for name in ("pswpin", "pswpout")),
        overheated=_sum(
            _whole(_read(path)) for path in _cpu_files(root, "thermal_throttle/core_throttle_count")
        ),
    )


def gather(
    before: Snapshot,
    described: Mapping[str, Any],
    interpreters: Sequence[Interpreter] = (),
    missing: Sequence[str] = (),
    *,
    root: Path = Path("/"),
) -> Facts:
    """The facts as they are now. `described` is what `machine.describe` said."""
    cmdline = _read(root / "proc/cmdline")
    governors = [_read(path) for path in _cpu_files(root, "cpufreq/scaling_governor")]
    return Facts(
        before=before,
        after=snapshot(root),
        cpus=described["cpus"],
        cpus_available=described["cpus_available"],
        virtualised=described["virtualised"],
        packing=None if cmdline is None else (described["vcpu_packing"] or ""),
        governors=tuple(sorted({each for each in governors if each})) or None,
        turbo=described["turbo"],
        quota=_quota(root),
        swap_used=_swap_used(_read(root / "proc/meminfo")),
        hottest_c=_hottest(root),
        on_battery=_on_battery(root),
        interpreters=tuple(interpreters),
        missing=tuple(missing),
    )


def examine(facts: Facts) -> list[Finding]:
    """One finding a check, in the order of `CHECKS`."""
    return [check(facts) for check in CHECKS]


def stored(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings as run.json and ``--json`` have them."""
    return [asdict(each) for each in findings]


# Checks -------------------------------------------------------------------------------------------


def check_load(facts: Facts) -> Finding:
    """Whether others were working before anything was measured."""
    load, pressure = facts.before.load, facts.before.pressure
    if load is None and pressure is None:
        return _untold("load of others")
    said = []
    if load is not None:
        said.append(f"load average {load:.2f} on {show_cpus(facts.cpus_available)}")
    if pressure is not None:
        said.append(f"something waited for a CPU in {show_percent(pressure)} of the last 10 s")
    busy = (load or 0.0) > BUSY * facts.cpus_available or (pressure or 0.0) > BUSY
    if not busy:
        return Finding("load of others", "ok", "; ".join(said))
    return Finding(
        "load of others",
        "warning",
        "; ".join(said),
        "What is measured shares its CPUs with it: times are longer and intervals wider, and "
        "approaches that use all CPUs suffer most.",
        "see who it is with `top`, end it or wait a minute (the average lags behind)",
    )


def check_governor(facts: Facts) -> Finding:
    """Whether the CPUs' clock follows the load."""
    if facts.governors is None:
        return _untold("frequency scaling")
    seen = f"governor {', '.join(facts.governors)}"
    if facts.governors == ("performance",):
        return Finding("frequency scaling", "ok", seen)
    return Finding(
        "frequency scaling",
        "warning",
        seen,
        "The clock rises with the load and takes its time: short samples run slower than long "
        "ones, and a sequential sample at another clock than a parallel one.",
        "sudo cpupower frequency-set -g performance",
    )


def check_turbo(facts: Facts) -> Finding:
    """Whether one busy CPU is clocked higher than many."""
    if facts.turbo is None:
        return _untold("turbo")
    if not facts.turbo:
        return Finding("turbo", "ok", "off")
    return Finding(
        "turbo",
        "note",
        "on",
        "One busy CPU may be clocked higher than many: sequential samples gain by it, so speed-ups "
        "come out smaller. That is also what a job would see.",
        "to compare at one clock: sudo cpupower set --turbo-boost 0, or off in the firmware",
    )


def check_steal(facts: Facts) -> Finding:
    """Whether the hypervisor gave our CPUs to other machines meanwhile."""
    ticks = _gone_up(facts, "ticks")
    stolen = _gone_up(facts, "stolen")
    if not ticks or stolen is None:
        return _untold("steal time")
    if facts.virtualised and not facts.after.stolen:
        return Finding("steal time", "note", "none since boot; a hypervisor may keep it to itself")
    share = stolen / ticks
    watched = show_seconds(facts.after.at - facts.before.at)
    seen = f"{100 * share:.1f} % of CPU time in {watched}"
    if share <= STOLEN:
        return Finding("steal time", "ok", seen)
    return Finding(
        "steal time",
        "warning",
        seen,
        "The hypervisor gave these CPUs to other machines: times are longer, and jump.",
        "measure at another hour, or on a machine with CPUs of its own",
    )


def check_quota(facts: Facts) -> Finding:
    """Whether a cgroup lets us run for a part of the time only."""
    throttled = _gone_up(facts, "throttled")
    if facts.quota is None:
        return _untold("CPU quota")
    seen = "none" if math.isinf(facts.quota) else f"{facts.quota:g} CPUs"
    if throttled:
        seen += f"; it stopped this group {throttled} times while we looked"
    if not throttled and facts.quota >= facts.cpus_available:
        return Finding("CPU quota", "ok", seen)
    return Finding(
        "CPU quota",
        "warning",
        f"{seen}, and {show_cpus(facts.cpus_available)} to run on",
        "When it is used up all threads stand still until the next period: more workers use it up "
        "sooner, and lose by it.",
        "raise or drop the limit: docker run --cpus, a pod's CPU limit, systemd's CPUQuota=",
    )


def check_cpus(facts: Facts) -> Finding:
    """Whether there are CPUs enough to say something about running in parallel."""
    count = facts.cpus_available
    if count > 2:
        return Finding("CPUs", "ok", f"{count} to run on")
    if count == 1:
        return Finding(
            "CPUs",
            "warning",
            "only one to run on",
            "Nothing computes side by side here: every speed-up of computing work is 1 at best.",
            "measure on a machine with more CPUs",
        )
    return Finding(
        "CPUs",
        "note",
        "two to run on",
        "A speed-up ends at 2, the system and todobatch need a share of the same two, and "
        "nothing is learnt about four or eight.",
        "measure where the job will run",
    )


def check_affinity(facts: Facts) -> Finding:
    """Whether we may use a part of the machine only."""
    if facts.cpus is None:
        return _untold("affinity")
    if facts.cpus_available >= facts.cpus:
        return Finding("affinity", "ok", f"all {facts.cpus} CPUs of the machine")
    return Finding(
        "affinity",
        "note",
        f"{facts.cpus_available} of the machine's {facts.cpus} CPUs",
        "All is measured within these; others may run on them, and on their sibling threads.",
        "if that is not meant: begin it without taskset, and without docker run --cpuset-cpus",
    )


def check_packing(facts: Facts) -> Finding:
    """Whether the kernel was told to pack short-lived threads onto few virtual CPUs."""
    if facts.packing is None:
        return _untold("vCPU packing")
    if not facts.packing:
        return Finding("vCPU packing", "ok", "not on the kernel's command line")
    return Finding(
        "vCPU packing",
        "warning",
        f"{machine.VCPU_PACKING}={facts.packing} is on the kernel's command line",
        "The kernel keeps short-lived threads together on few CPUs while others idle: short "
        "samples show less speed-up than a longer job has.",
        "make samples last a second or more (todobatch bench does, unless --batch-size makes "
        "them short), or start the system without it",
    )


def check_swap(facts: Facts) -> Finding:
    """Whether memory is moved to disk."""
    moved = _gone_up(facts, "swapped")
    if facts.swap_used is None and moved is None:
        return _untold("swap")
    used = facts.swap_used or 0
    if moved:
        return Finding(
            "swap",
            "warning",
            f"{moved} pages went in or out while we looked",
            "Waiting for the disk is in the times, and not the same in any two samples.",
            "close what takes the memory, then: sudo swapoff -a",
        )
    if used:
        return Finding(
            "swap",
            "note",
            f"{show_bytes(used)} in use, none moved while we looked",
            "A sample that touches what was moved out waits for the disk.",
            "close what takes the memory, then: sudo swapoff -a",
        )
    return Finding("swap", "ok", "none in use")


def check_heat(facts: Facts) -> Finding:
    """Whether the CPUs slow themselves down because they are hot."""
    slowed = _gone_up(facts, "overheated")
    if slowed is None and facts.hottest_c is None:
        return _untold("thermal throttling")
    hot = facts.hottest_c is not None and facts.hottest_c >= HOT_C
    degrees = (
        "" if facts.hottest_c is None else f"the hottest sensor is at {facts.hottest_c:.0f} °C"
    )
    if slowed or hot:
        times = f"CPUs slowed down {slowed} times while we looked" if slowed else ""
        return Finding(
            "thermal throttling",
            "warning",
            "; ".join(filter(None, (times, degrees))),
            "Later samples run at a lower clock than earlier ones.",
            "let it cool down, free its fans, or turn turbo off: sudo cpupower set --turbo-boost 0",
        )
    if facts.after.overheated:
        return Finding(
            "thermal throttling",
            "note",
            f"{facts.after.overheated} times since boot, none while we looked",
            "A long run may heat it up again: later samples would run at a lower clock.",
            "watch the clock during a run: sudo turbostat",
        )
    return Finding("thermal throttling", "ok", degrees or "none since boot")


def check_virtualisation(facts: Facts) -> Finding:
    """Whether the CPUs are real ones."""
    if facts.virtualised is None:
        return Finding("virtualisation", "ok", "no sign of it")
    if facts.virtualised == "container":
        return Finding(
            "virtualisation",
            "note",
            "a container",
            "The CPUs are shared with whatever else the host runs, unseen from here.",
            "ask the host: docker stats, kubectl top node",
        )
    return Finding(
        "virtualisation",
        "note",
        f"a virtual machine ({facts.virtualised})",
        "Its CPUs may be threads of a core that another machine uses too: speed drifts within "
        "minutes, and two CPUs may give less than twice of one.",
        "trust ratios within a run, never times of two runs; take more blocks",
    )


def check_power(facts: Facts) -> Finding:
    """Whether a battery decides how fast the CPUs may be."""
    if facts.on_battery is None:
        return _untold("power")
    if not facts.on_battery:
        return Finding("power", "ok", "not on a battery")
    return Finding(
        "power",
        "warning",
        "on a battery",
        "The system saves power, and more of it as the charge goes down.",
        "plug it in",
    )


def check_builds(facts: Facts) -> Finding:
    """Whether the interpreters are what people run, and built alike."""
    missing = ", ".join(facts.missing)
    get = f"todobatch interpreters install {' '.join(facts.missing)}"
    if not facts.interpreters:
        seen = f"not here: {missing}" if missing else "none was looked at"
        return Finding("builds", "warning", seen, "There is nothing to measure.", get)
    debug = [each.spec for each in facts.interpreters if each.facts["debug_build"]]
    plain = [each.spec for each in facts.interpreters if not each.facts["optimized_build"]]
    first, *others = facts.interpreters
    apart = [each for other in others for each in differences(first, other)]
    if debug:
        return _built(
            "warning",
            f"debug builds: {', '.join(debug)}",
            "They check themselves all the time: nothing that they show holds for a release.",
            "todobatch interpreters install, or name a release build with --interpreters",
        )
    if apart:
        return _built(
            "warning",
            f"not built alike: {'; '.join(apart)}",
            "A comparison of the two is also one of how they were built.",
            _optimise(facts),
        )
    if missing:
        return _built("warning", f"not here: {missing}", "They cannot be compared.", get)
    if plain:
        return _built(
            "note",
            f"alike, and without profile-guided optimisation: {', '.join(plain)}",
            "Ratios between them hold for such builds; people mostly run optimised, faster ones.",
            _optimise(facts),
        )
    names = ", ".join(each.spec for each in facts.interpreters)
    return _built("ok", f"{names}: profile-guided, and alike")


def _built(severity: Severity, seen: str, effect: str = "", remedy: str = "") -> Finding:
    # An interpreter may have been asked for by its path, which is nobody's business.
    return Finding("builds", severity, machine.without_folders(seen), effect, remedy)


def _optimise(facts: Facts) -> str:
    """The command that gets optimised builds of these versions, where we know how to build them."""
    specs = dict.fromkeys(spec_of(each.facts) for each in facts.interpreters)
    known = [spec for spec in specs if spec in SPECS]
    if not known:
        return "name profile-guided builds with --interpreters"
    return f"todobatch interpreters install --optimized {' '.join(known)} (15 to 30 minutes each)"


CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    check_load,
    check_governor,
    check_turbo,
    check_steal,
    check_quota,
    check_cpus,
    check_affinity,
    check_packing,
    check_swap,
    check_heat,
    check_virtualisation,
    check_power,
    check_builds,
)


def _untold(name: str) -> Finding:
    return Finding(name, "note", UNTOLD)


def _gone_up(facts: Facts, counter: str) -> int | None:
    """By how much a counter rose between the snapshots; None where it is not told."""
    before, after = getattr(facts.before, counter), getattr(facts.after, counter)
    return None if before is None or after is None else max(0, after - before)


def show_cpus(count: int) -> str:
    """``2`` -> ``'2 CPUs'``."""
    return "1 CPU" if count == 1 else f"{count} CPUs"


# Files of /proc and /sys --------------------------------------------------------------------------


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


def _sum(values: Iterator[int | None]) -> int | None:
    """The sum of those that are told; None where none is."""
    told = [value for value in values if value is not None]
    return sum(told) if told else None


def _counter(text: str | None, name: str) -> int | None:
    """Of a file with a name and a number a line."""
    for line in (text or "").splitlines():
        if line.startswith(f"{name} "):
            return _whole(_word(line, 1))
    return None


def _cpu_times(stat: str | None) -> tuple[int | None, int | None]:
    """All ticks and the stolen ones; guest time is in user time already (proc_stat(5))."""
    words = (stat or "").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None, None
    ticks = [int(word) for word in words[1:9]]
    return sum(ticks), ticks[7]


def _pressure(text: str | None) -> Ratio | None:
    """``some avg10=24.74 …`` -> 0.2474 (the kernel's Documentation/accounting/psi.rst)."""
    for word in (text or "").partition("\n")[0].split():
        if word.startswith("avg10="):
            percent = _number(word.removeprefix("avg10="))
            return None if percent is None else percent / 100
    return None


def _quota(root: Path) -> float | None:
    """The CPUs that our control groups grant; infinite without a limit, None when not shown."""
    if not cgroup.folders(root):
        return None
    quota = cgroup.cpu_quota(root)
    return math.inf if quota is None else quota


def _swap_used(meminfo: str | None) -> Bytes | None:
    total, free = (_counter(meminfo, f"Swap{name}:") for name in ("Total", "Free"))
    return None if total is None or free is None else (total - free) * 1024


def _hottest(root: Path) -> float | None:
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [_number(_read(path)) for path in zones]
    return max((each / 1000 for each in degrees if each is not None), default=None)


def _on_battery(root: Path) -> bool | None:
    folder = root / "sys/class/power_supply"
    if not folder.is_dir():
        return None
    return any(
        _read(each / "type") == "Battery"
        and _read(each / "scope") != "Device"  # a mouse has one too
        and _read(each / "status") == "Discharging"
        for each in folder.iterdir()
    )
