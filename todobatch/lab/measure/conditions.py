"""The state of the machine around a sample, under the names and in the form that pyperf uses.

Source: ``pyperf._collect_metadata`` of pyperf 2.10.
"""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any

from todobatch.coordinator.ranges import Ranges
from todobatch.files import read_or_none
from todobatch.units import Seconds

CPUINFO = Path("/proc/cpuinfo")
SENSORS = Path("/sys/class/hwmon")
_FREQUENCY = re.compile(
    r"^processor\s*:\s*(\d+)$.*?^cpu MHz\s*:\s*([\d.]+)$", re.MULTILINE | re.DOTALL
)


def conditions(started: dt.datetime, duration_s: Seconds, value: Seconds) -> dict[str, Any]:
    """Return the metadata that pyperf would store for a run that has just ended.

    `value` is the measured time. Frequencies and temperatures are included if Linux shows them.
    """
    found: dict[str, Any] = {
        "date": started.astimezone().replace(tzinfo=None).isoformat(" "),
        "duration": duration_s,
        "load_avg_1min": round(os.getloadavg()[0], 2),
        "value": value,
    }
    if frequencies := _frequencies():
        found["cpu_freq"] = frequencies
    if temperatures := _temperatures():
        found["cpu_temp"] = temperatures
    return found


def _frequencies() -> str:
    """Return the frequency of each CPU, such as ``0-1=2596 MHz; 2=2601 MHz``."""
    cpus: dict[str, list[int]] = {}
    for cpu, megahertz in _FREQUENCY.findall(_read(CPUINFO)):
        cpus.setdefault(f"{round(float(megahertz))} MHz", []).append(int(cpu))
    return "; ".join(f"{_ranges(numbers)}={text}" for text, numbers in cpus.items())


def _temperatures() -> str:
    """Return the temperatures of Intel's sensors, such as ``coretemp:Core 0=45 C``."""
    return ", ".join(
        f"coretemp:{_read(label)}={float(_read(value)) / 1000:.0f} C"
        for name in sorted(SENSORS.glob("*/name"))
        if _read(name).startswith("coretemp")
        for label in sorted(name.parent.glob("temp*_label"))
        if _read(value := label.with_name(label.name.replace("label", "input")))
    )


def _ranges(numbers: list[int]) -> str:
    """Return sorted numbers in pyperf's short form: ``0-3,8``."""
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    pairs = ((start, end - 1) for start, end in ranges.pairs())
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in pairs)


def _read(path: Path) -> str:
    return read_or_none(path) or ""
