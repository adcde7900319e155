"""Check a machine for what makes measurements unreliable: one finding per check.

Each check is a pure function of the `Facts` that `todobatch.lab.doctor.system` reads. What is
measured rather than read is in `parallelism` and `noise`.

Findings are stored with a run, and runs are published. So a finding never contains a host name, a
user name or an absolute path.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from todobatch.lab.doctor.system import Facts
from todobatch.lab.interpreters import SPECS, differences
from todobatch.lab.interpreters.specs import spec_of
from todobatch.lab.store import machine
from todobatch.units import Ratio, show_bytes, show_count, show_percent, show_seconds

UNKNOWN = "not reported by this system"

BUSY: Ratio = 0.25
"""A load per CPU, or a share of time spent waiting for a CPU, above this means other programs."""
STOLEN: Ratio = 0.01
"""Stolen CPU time up to this share is within the usual spread of samples."""
HOT_C = 90.0
"""Most CPUs slow down somewhere between 90 and 105 °C."""

Severity = Literal["ok", "note", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    name: str
    severity: Severity
    seen: str
    """What the check found."""
    effect: str = ""
    """How it affects measurements; empty if it does not."""
    remedy: str = ""
    """What to do: a command or advice."""


def examine(facts: Facts) -> list[Finding]:
    """Run all checks; one finding each, in the order of `CHECKS`."""
    findings = [check(facts) for check in CHECKS]
    # An interpreter may be named by its path, which must not be published.
    return [replace(each, seen=machine.without_folders(each.seen)) for each in findings]


def as_dictionaries(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings as run.json and the JSON output contain them."""
    return [asdict(each) for each in findings]


def check_load(facts: Facts) -> Finding:
    """Check whether other programs used the CPUs before anything was measured."""
    load, pressure = facts.before.load, facts.before.pressure
    parts = []
    if load is not None:
        parts.append(f"load average {load:.2f} on {show_count(facts.cpus_available, 'CPU')}")
    if pressure is not None:
        parts.append(f"threads waited for a CPU in {show_percent(pressure)} of the last 10 s")
    busy = (load or 0.0) > BUSY * facts.cpus_available or (pressure or 0.0) > BUSY
    return _finding(
        "load of others",
        busy if parts else None,
        "; ".join(parts),
        "Other programs share the CPUs with the samples. Times are longer and intervals wider, "
        "most of all for approaches that use all CPUs.",
        "find the programs with `top` and end them, or wait a minute (the average lags behind)",
    )


def check_governor(facts: Facts) -> Finding:
    """Check whether the CPUs change their clock with the load."""
    governors = facts.governors
    return _finding(
        "frequency scaling",
        None if governors is None else governors != ("performance",),
        f"governor {', '.join(governors or ())}",
        "The clock rises slowly with the load. Short samples run at a lower clock than long ones, "
        "and sequential samples at another clock than parallel ones.",
        "sudo cpupower frequency-set -g performance",
    )


def check_turbo(facts: Facts) -> Finding:
    """Check whether a single busy CPU may run at a higher clock than many."""
    return _finding(
        "turbo",
        facts.turbo,
        "on" if facts.turbo else "off",
        "A single busy CPU may run at a higher clock than many. Sequential samples gain from it, "
        "so speed-ups are smaller. A real job sees the same.",
        "to compare at one clock: sudo cpupower set --turbo-boost 0, or turn it off in the "
        "firmware",
        severity="note",
    )


def check_steal(facts: Facts) -> Finding:
    """Check whether the hypervisor gave CPU time of this machine to other machines."""
    ticks = _increase(facts, "ticks")
    stolen = _increase(facts, "stolen")
    if not ticks or stolen is None:
        return Finding("steal time", "note", UNKNOWN)
    if facts.virtualised and not facts.after.stolen:
        return Finding(
            "steal time", "note", "none since boot; the hypervisor may not report steal time"
        )
    share = stolen / ticks
    watched = show_seconds(facts.after.at - facts.before.at)
    seen = f"{100 * share:.1f} % of CPU time in {watched}"
    if share <= STOLEN:
        return Finding("steal time", "ok", seen)
    return Finding(
        "steal time",
        "warning",
        seen,
        "The hypervisor gave these CPUs to other machines. Times are longer, and they jump.",
        "measure at another hour, or on a machine with CPUs of its own",
    )


def check_quota(facts: Facts) -> Finding:
    """Check whether a control group limits the CPU time of this process."""
    throttled = _increase(facts, "throttled")
    if facts.quota is None:
        return Finding("CPU quota", "note", UNKNOWN)
    seen = "none" if math.isinf(facts.quota) else f"{facts.quota:g} CPUs"
    if throttled:
        seen += f"; it stopped this process {throttled} times during the check"
    if not throttled and facts.quota >= facts.cpus_available:
        return Finding("CPU quota", "ok", seen)
    return Finding(
        "CPU quota",
        "warning",
        f"{seen}; {show_count(facts.cpus_available, 'CPU')} available",
        "Once the quota is used up, all threads stop until the next period. More workers use it "
        "up sooner, so they lose by it.",
        "raise or remove the limit: docker run --cpus, a pod's CPU limit, systemd's CPUQuota=",
    )


def check_cpus(facts: Facts) -> Finding:
    """Check whether there are enough CPUs to learn about running in parallel."""
    count = facts.cpus_available
    if count > 2:
        return Finding("CPUs", "ok", f"{count} available")
    if count == 1:
        return Finding(
            "CPUs",
            "warning",
            "only one available",
            "Nothing computes in parallel here, so no computing workload can get faster.",
            "measure on a machine with more CPUs",
        )
    return Finding(
        "CPUs",
        "note",
        "two available",
        "No speed-up can exceed 2. The system and todobatch use the same two CPUs. The results "
        "do not carry over to four or eight CPUs.",
        "measure on the machine that will run the job",
    )


def check_affinity(facts: Facts) -> Finding:
    """Check whether this process may use only some of the machine's CPUs."""
    few = None if facts.cpus is None else facts.cpus_available < facts.cpus
    some = f"{facts.cpus_available} of the machine's {facts.cpus} CPUs"
    return _finding(
        "affinity",
        few,
        some if few else f"all {facts.cpus} CPUs of the machine",
        "All samples run on these CPUs. Other programs may use them too, or their sibling threads.",
        "to use all CPUs, start without taskset and without docker run --cpuset-cpus",
        severity="note",
    )


def check_swap(facts: Facts) -> Finding:
    """Check whether memory is swapped to disk."""
    moved = _increase(facts, "swapped")
    if facts.swap_used is None and moved is None:
        return Finding("swap", "note", UNKNOWN)
    remedy = "end the programs that use the memory, then: sudo swapoff -a"
    if moved:
        return Finding(
            "swap",
            "warning",
            f"{moved} pages were swapped in or out during the check",
            "Times include waiting for the disk, and each sample waits for a different time.",
            remedy,
        )
    if facts.swap_used:
        return Finding(
            "swap",
            "note",
            f"{show_bytes(facts.swap_used)} in use, none moved during the check",
            "A sample that touches swapped memory waits for the disk.",
            remedy,
        )
    return Finding("swap", "ok", "none in use")


def check_heat(facts: Facts) -> Finding:
    """Check whether the CPUs slow themselves down because they are hot."""
    slowed = _increase(facts, "overheated")
    if slowed is None and facts.hottest_c is None:
        return Finding("thermal throttling", "note", UNKNOWN)
    degrees = "" if facts.hottest_c is None else f"hottest sensor {facts.hottest_c:.0f} °C"
    if slowed or (facts.hottest_c is not None and facts.hottest_c >= HOT_C):
        times = f"the CPUs slowed down {slowed} times during the check" if slowed else ""
        return Finding(
            "thermal throttling",
            "warning",
            "; ".join(filter(None, (times, degrees))),
            "Later samples run at a lower clock than earlier ones.",
            "let the machine cool down, clean its fans, or turn turbo off: "
            "sudo cpupower set --turbo-boost 0",
        )
    if facts.after.overheated:
        return Finding(
            "thermal throttling",
            "note",
            f"{facts.after.overheated} times since boot, none during the check",
            "A long run may heat the CPUs again. Later samples would run at a lower clock.",
            "watch the clock during a run: sudo turbostat",
        )
    return Finding("thermal throttling", "ok", degrees or "none since boot")


def check_virtualisation(facts: Facts) -> Finding:
    """Check whether the CPUs are virtual, or shared with other containers."""
    if facts.virtualised is None:
        return Finding("virtualisation", "ok", "no sign of a virtual machine or container")
    if facts.virtualised == "container":
        return Finding(
            "virtualisation",
            "note",
            "a container",
            "Other programs of the host use the same CPUs, and cannot be seen from here.",
            "look on the host: docker stats, kubectl top node",
        )
    return Finding(
        "virtualisation",
        "note",
        f"a virtual machine ({facts.virtualised})",
        "Its CPUs may share a core with another machine. Speed drifts within minutes, and two "
        "CPUs may yield less than twice the work of one.",
        "trust ratios within a run, not times of two runs; measure more blocks",
    )


def check_power(facts: Facts) -> Finding:
    """Check whether the machine runs on a battery."""
    return _finding(
        "power",
        facts.on_battery,
        "on a battery" if facts.on_battery else "not on a battery",
        "The system saves power: the CPUs are slower, and slow down further with the charge.",
        "plug the machine in",
    )


def check_builds(facts: Facts) -> Finding:
    """Check whether the interpreters are release builds, and built with the same options."""
    missing = ", ".join(facts.missing)
    install = f"todobatch interpreters install {' '.join(facts.missing)}"
    if not facts.interpreters:
        seen = f"not found: {missing}" if missing else "no interpreter was checked"
        return Finding("builds", "warning", seen, "There is nothing to measure.", install)
    debug = [each.spec for each in facts.interpreters if each.facts["debug_build"]]
    plain = [each.spec for each in facts.interpreters if not each.facts["optimized_build"]]
    first, *others = facts.interpreters
    unlike = [each for other in others for each in differences(first, other)]
    if debug:
        return Finding(
            "builds",
            "warning",
            f"debug builds: {', '.join(debug)}",
            "Debug builds are slow in their own way. Nothing measured on them holds for a release.",
            "use release builds: todobatch interpreters install",
        )
    if unlike:
        return Finding(
            "builds",
            "warning",
            f"built with different options: {'; '.join(unlike)}",
            "A comparison of the two also compares how they were built.",
            _optimise(facts),
        )
    if missing:
        return Finding(
            "builds",
            "warning",
            f"not found: {missing}",
            "Missing interpreters cannot be compared.",
            install,
        )
    if plain:
        return Finding(
            "builds",
            "note",
            f"alike, but without profile-guided optimisation: {', '.join(plain)}",
            "Ratios hold for such builds. Most people run optimised builds, which are faster.",
            _optimise(facts),
        )
    names = ", ".join(each.spec for each in facts.interpreters)
    return Finding("builds", "ok", f"{names}: alike, with profile-guided optimisation")


def _optimise(facts: Facts) -> str:
    """Return the command that installs optimised builds of these versions, if there is one."""
    specs = dict.fromkeys(spec_of(each.facts) for each in facts.interpreters)
    known = [spec for spec in specs if spec in SPECS]
    if not known:
        return "use builds with profile-guided optimisation"
    return f"todobatch interpreters install --optimized {' '.join(known)} (15 to 30 minutes each)"


CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    check_load,
    check_governor,
    check_turbo,
    check_steal,
    check_quota,
    check_cpus,
    check_affinity,
    check_swap,
    check_heat,
    check_virtualisation,
    check_power,
    check_builds,
)


def _finding(
    name: str,
    trouble: bool | None,
    seen: str,
    effect: str,
    remedy: str,
    *,
    severity: Severity = "warning",
) -> Finding:
    """Return a finding: with effect and remedy if there is `trouble`; None means unknown."""
    if trouble is None:
        return Finding(name, "note", UNKNOWN)
    return Finding(name, severity, seen, effect, remedy) if trouble else Finding(name, "ok", seen)


def _increase(facts: Facts, counter: str) -> int | None:
    """Return by how much a counter rose between the snapshots; None if it is unknown."""
    before, after = getattr(facts.before, counter), getattr(facts.after, counter)
    return None if before is None or after is None else max(0, after - before)
