"""What it costs to watch the workers: ``python benchmarks/watching.py``

With every batch a worker says whether its GIL is on, which CPU it ran on and which it may use, and
what waiting and copying took; samples rest on it. Here each executor runs with that and without it
(TODOBATCH_UNWATCHED=1), in turns, as ``todobatch versus`` does: batches of the document's reference
load of 100 tasks, and of 4, where it weighs most. Printed is the time with ÷ the time without, and
whether the whole interval lies below 1 % more. Exit code 1 when one lies above it.
"""

import argparse
import sys
from dataclasses import replace

from todobatch.executors.base import UNWATCHED
from todobatch.lab.interpreters import DEFAULT_INTERPRETERS, find_all
from todobatch.lab.measure.versus import Versus
from todobatch.lab.store.schema import Cell

EXECUTORS = (("sequential", 1), ("threads", 2), ("processes", 2), ("interpreters", 2))
MOST = 1.01


def main() -> int:
    """Compare, and print a row a cell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a row")
    parser.add_argument("--batch-sizes", default="100,4", help="tasks, comma-separated")
    parser.add_argument("--executors", default=",".join(name for name, _ in EXECUTORS))
    options = parser.parse_args()
    interpreters = dict(zip(DEFAULT_INTERPRETERS, find_all(DEFAULT_INTERPRETERS), strict=True))
    print("| executor | interpreter | tasks a batch | time with ÷ without | blocks | under 1 % |")
    print("|---|---|---:|---:|---:|---|", flush=True)
    missed = 0
    for size in map(int, options.batch_sizes.split(",")):
        for name, workers in EXECUTORS:
            for spec in interpreters if name in options.executors.split(",") else ():
                cell = Cell("example8", spec, name, workers)
                outcome = replace(
                    Versus(cell, cell, interpreters, {"kind": "generator", "seed": 1}, 1,
                           "2026-11-25", budget_s=options.budget, target=0.002),
                    environments=({UNWATCHED: "1"}, {}), batch_size=size, decide=False,
                ).run()  # fmt: skip
                ratio = outcome.ratio
                met = ratio.high < MOST
                missed += ratio.low > MOST
                print(
                    f"| {name} × {workers} | {spec} | {size} | {ratio.estimate:.4f} "
                    f"[{ratio.low:.4f}, {ratio.high:.4f}] | {len(outcome.blocks)} | "
                    f"{'yes' if met else 'not shown'} |",
                    flush=True,
                )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
