"""What a job used: CPU time, and memory at its peak, of all its processes."""

import sys
from typing import Any

from todobatch import probe
from todobatch.units import Bytes, Seconds


class Usage:
    """Measured between `start` and `end`; 0 where the system did not say."""

    def __init__(self) -> None:
        self.cpu_s: Seconds = 0.0
        self.peak_bytes: Bytes = 0
        self.peak_method = ""

    def start(self) -> None:
        """Begin to measure."""
        self.cpu_s = -probe.tree_cpu_seconds()

    def end(self) -> None:
        """End measuring. If user code has made that impossible, say so: the work is done."""
        try:
            self.cpu_s += probe.tree_cpu_seconds()
            self.peak_bytes, self.peak_method = probe.tree_peak()
        except OSError as error:  # for example, no file may be opened any more
            self.cpu_s = 0.0
            print(f"todobatch: CPU time and memory are unknown: {error}", file=sys.stderr)

    def fields(self) -> dict[str, Any]:
        """Return the fields of `JobReport` with these names."""
        return vars(self)
