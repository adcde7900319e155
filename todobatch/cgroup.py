"""The control groups (cgroups) of this process, and the CPU quota that they grant.

Sources: cgroups(7); the kernel's admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.
"""

from pathlib import Path

from todobatch.files import read_or_none


def folders(root: Path = Path("/")) -> list[Path]:
    """Return the folders of this process's CPU control group and of its parents, innermost first.

    The list is empty when the system does not show them. `root` holds ``proc`` and ``sys``.
    """
    mount = root / "sys/fs/cgroup"
    unified = (mount / "cgroup.controllers").exists()
    for line in (read_or_none(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if unified and not controllers:
            base = mount
        elif not unified and "cpu" in controllers.split(","):
            base = mount / "cpu"
        else:
            continue
        own = base / path.lstrip("/")
        # A container may see the host's path of its group, but only its own folders.
        return [each for each in (own, *own.parents) if each.is_relative_to(base) and each.is_dir()]
    return []


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPUs granted to this process: the smallest quota of its group and all parents.

    Returns None when there is no limit, or when the system does not show one.
    """
    quotas = [quota for folder in folders(root) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _quota(folder: Path) -> float | None:
    """Return quota ÷ period: from ``cpu.max`` in version 2, from ``cpu.cfs_*`` in version 1."""
    both = read_or_none(folder / "cpu.max")
    if both is None:
        parts = (read_or_none(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        both = " ".join(part or "" for part in parts)
    try:
        quota, period = map(int, both.split())
    except ValueError:  # 'max': no limit; or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1: no limit
