"""Describe the machine of a run for publication: without host name, user name and paths."""

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from todobatch import cgroup, runtime
from todobatch.files import read_or_none


def describe() -> dict[str, Any]:
    """Return the machine as a flat dictionary. What the system does not report is None.

    ``cpu_model``; ``cpus`` (of the machine) and ``cpus_available`` (to this process); ``affinity``
    (CPU numbers); ``memory_bytes``, ``swap_bytes``; ``os``, ``kernel``, ``architecture``;
    ``virtualised`` (by which product); ``cpu_quota`` (CPUs that the cgroup grants); ``governor``,
    ``turbo``; ``load`` (of the last 1, 5 and 15 minutes).
    """
    cpuinfo = _read("/proc/cpuinfo") or ""
    return {
        "cpu_model": _field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_available": runtime.cpus_available(),
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": _memory(),
        "swap_bytes": _meminfo("SwapTotal"),
        "os": _os_name(),
        "kernel": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "virtualised": _virtualised(cpuinfo),
        "cpu_quota": cgroup.cpu_quota(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": _turbo(),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def without_paths(text: str) -> str:
    """Return build options (CONFIG_ARGS) without those that name folders."""
    kept = re.sub(r"'?--(?:exec-)?prefix=[^\s']*'?|'[^']*=/[^']*'|\S*=/\S*", "", text)
    return " ".join(kept.replace(str(Path.home()), "~").split())


def without_folders(text: str) -> str:
    """Shorten each absolute path in a message to its last part."""
    return re.sub(r"(?<![\w.:/])/(?:[^/\s\"']+/)+", "…/", text)


def portable(path: Path) -> str:
    """Return a path for publication: relative to the current folder or to the home (``~/…``)."""
    whole = path.expanduser().absolute()
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if whole.is_relative_to(base):
            return prefix + str(whole.relative_to(base))
    return os.path.relpath(whole)


def git_state() -> dict[str, Any]:
    """Return ``{'commit', 'dirty'}`` of the checkout that contains todobatch; empty without one."""
    package = Path(__file__).resolve().parents[2]
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {}  # todobatch is installed, or in another project's repository
    commit = _git(package, "rev-parse", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return {} if commit is None else {"commit": commit, "dirty": bool(changed)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: str) -> str | None:
    return read_or_none(Path(path))


def _field(cpuinfo: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _meminfo(name: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB", _read("/proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform(aliased=True, terse=True)


def _virtualised(cpuinfo: str) -> str | None:
    """Return the hypervisor's vendor from the firmware, ``'container'``, or None."""
    product = _read("/sys/class/dmi/id/sys_vendor")
    flags = (_field(cpuinfo, "flags") or "").split()
    if "hypervisor" in flags:
        return product or "unknown hypervisor"
    return "container" if Path("/.dockerenv").exists() else None


def _turbo() -> bool | None:
    for path, on in (
        ("/sys/devices/system/cpu/intel_pstate/no_turbo", "0"),
        ("/sys/devices/system/cpu/cpufreq/boost", "1"),
    ):
        value = _read(path)
        if value is not None:
            return value == on
    return None
