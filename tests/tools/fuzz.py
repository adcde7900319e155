"""Try many damaged files of each format: ``python tests/tools/fuzz.py [INPUTS] [FORMAT...]``.

Prints a line for each format: inputs, how many were accepted, and how many each error refused. An
input that raises anything but an error of todobatch is printed with its seed, and the exit code
is 1. The seeds are 0, 1, 2 ..., so a run can be repeated; the environment variable FROM names the
first.
"""

import collections
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.formats import FORMATS
from todobatch.errors import TodobatchError


def main(inputs: int, names: list[str]) -> int:
    """Try the inputs of each format, and return the exit code."""
    bugs = 0
    first = int(os.environ.get("FROM", "0"))
    for name in names or list(FORMATS):
        began = time.perf_counter()
        outcomes: collections.Counter[str] = collections.Counter()
        with tempfile.TemporaryDirectory() as made:
            for seed in range(first, first + inputs):
                try:
                    FORMATS[name](Path(made), random.Random(f"{name}/{seed}"))
                    outcomes["accepted"] += 1
                except TodobatchError as error:
                    outcomes[f"{type(error).__name__} {error.exit_code}"] += 1
                except Exception:
                    outcomes["BUG"] += 1
                    bugs += 1
                    if outcomes["BUG"] <= 5:
                        print(f"{name}, seed {seed}:\n{traceback.format_exc()}", flush=True)
        counted = ", ".join(f"{what}: {count}" for what, count in outcomes.most_common())
        print(
            f"{name}: {inputs} inputs in {time.perf_counter() - began:.0f} s: {counted}", flush=True
        )
    return 1 if bugs else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(int(arguments[0]) if arguments else 2_000, arguments[1:]))
