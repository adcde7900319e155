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
from todobatch import errors
from todobatch.errors import TodobatchError

CODES = {
    errors.EXIT_USAGE, errors.EXIT_GATE, errors.EXIT_UNAVAILABLE, errors.EXIT_MEASUREMENT,
    errors.EXIT_STORE,
}  # fmt: skip
"""The exit codes that an error may have."""
MOST_SHOWN = 5
"""How many bugs of a format are printed."""
PROGRESS_EVERY_S = 60.0


def main(inputs: int, names: list[str]) -> int:
    """Try the inputs of each format, and return the exit code."""
    first = int(os.environ.get("FROM", "0"))
    return 1 if sum(try_format(name, first, inputs) for name in names or FORMATS) else 0


def try_format(name: str, first: int, inputs: int) -> int:
    """Try the inputs of a format, print what became of them, and return the number of bugs."""
    outcomes: collections.Counter[str] = collections.Counter()
    slowest = (0.0, first)
    began = reported = time.perf_counter()
    with tempfile.TemporaryDirectory() as made:
        for seed in range(first, first + inputs):
            at = time.perf_counter()
            if at - reported > PROGRESS_EVERY_S:
                reported = at
                print(
                    f"{name}: {seed - first} of {inputs} inputs, {outcomes['BUG']} bugs", flush=True
                )
            try:
                FORMATS[name](Path(made), random.Random(f"{name}/{seed}"))
                outcomes["accepted"] += 1
            except TodobatchError as error:
                bug = error.exit_code not in CODES
                outcomes["BUG" if bug else f"{type(error).__name__} {error.exit_code}"] += 1
            except Exception:
                outcomes["BUG"] += 1
                if outcomes["BUG"] <= MOST_SHOWN:
                    print(f"{name}, seed {seed}:\n{traceback.format_exc()}", flush=True)
            slowest = max(slowest, (time.perf_counter() - at, seed))
    counted = ", ".join(f"{what}: {count}" for what, count in outcomes.most_common())
    print(
        f"{name}: {inputs} inputs in {time.perf_counter() - began:.0f} s: {counted}; the slowest "
        f"took {slowest[0]:.2f} s (seed {slowest[1]})",
        flush=True,
    )
    return outcomes["BUG"]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(int(arguments[0]) if arguments else 2_000, arguments[1:]))
