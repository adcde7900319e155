"""Check the error rates of verdicts and intervals: ``python benchmarks/peers/coverage.py``

The script simulates comparisons of two cells whose true difference is known. The simulated machines
drift, have autocorrelated noise, and have outliers. Each comparison is sampled as `todobatch bench`
does it: block after block in random order, with a look after each block. It stops when
`evidence.settled` says so, or after 40 blocks. For each machine the table gives:

* false alarms: how many comparisons without a difference were ever called faster or slower (at most
  5 % are allowed). The same is computed for a t test with as many looks;
* coverage: how many final 95 % intervals contain the true ratio (93 to 97 % are allowed), and how
  many with a fixed number of blocks;
* found: how many differences of 2, 5, 10 and 50 % were decided, and after how many blocks.

Nothing is timed, so the same seed gives the same table on any machine. The exit code is 1 when a
promise is broken.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from todobatch.lab.plan.cells import DEFAULT_BLOCKS, TARGET
from todobatch.lab.stats import evidence
from todobatch.lab.stats.estimate import EQUIVALENT_WITHIN, ratio_of

Floats = npt.NDArray[np.float64]
LEVEL = 0.05
EFFECTS = (0.0, 0.02, 0.05, 0.10, 0.50)
FIXED_BLOCKS = 12
SHARES = 64  # the number of pieces that the processes share


@dataclass(frozen=True)
class Machine:
    """How a simulated machine behaves. Spreads are of logarithms: 0.02 is about 2 %."""

    name: str
    own: float = 0.015
    """Spread that is independent in each sample."""
    remembered: float = 0.02
    """Spread of an AR(1) process from sample to sample."""
    memory: float = 0.7
    """Correlation of the AR(1) process."""
    drift: float = 0.3
    """Range of a slow wave and a random walk over a whole run."""
    outliers: float = 0.03
    """Share of samples that are slowed down further, by 30 % on average (exponential)."""
    apart: int = 2
    """Samples in a block; two random ones of them are compared."""


MACHINES = (
    Machine("quiet", remembered=0.005, own=0.005, drift=0.02, outliers=0.0),
    Machine("drifting", outliers=0.0),
    Machine("drifting, with outliers"),
    Machine("remembering", remembered=0.05, memory=0.95),
    Machine("stumbling", own=0.03, remembered=0.03, outliers=0.10),
    Machine("28 cells a block", apart=28),
)


@dataclass(frozen=True)
class Outcome:
    """The result of one comparison that was sampled to its end."""

    blocks: int
    verdict: str
    covered: bool
    fixed_covered: bool
    naive_alarm: bool


@dataclass(frozen=True)
class Row:
    """The results of all comparisons of one machine and one effect."""

    machine: str
    effect: float
    outcomes: Sequence[Outcome]

    def share(self, what: str) -> float:
        """Return the share of outcomes for which a field is true, or that were ``decided``."""
        if what == "decided":
            return float(np.mean([each.verdict in {"faster", "slower"} for each in self.outcomes]))
        return float(np.mean([getattr(each, what) for each in self.outcomes]))

    @property
    def blocks(self) -> float:
        """Return the mean number of blocks that a comparison took."""
        return float(np.mean([each.blocks for each in self.outcomes]))

    def broken(self) -> str | None:
        """Return the promise that this row breaks by more than three standard errors, if any."""
        spare = 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(self.outcomes))
        if self.effect == 0 and self.share("decided") > LEVEL + spare:
            return "false alarms"
        if not 0.93 - spare <= self.share("covered") <= 0.97 + spare:
            return "coverage"
        if not 0.93 - spare <= self.share("fixed_covered") <= 0.97 + spare:
            return "coverage, fixed"
        return None


def main() -> int:
    """Simulate, print the table, and check the promises."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument(
        "--comparisons",
        type=int,
        default=2_000,
        help="number of comparisons for each machine and effect",
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.comparisons} comparisons a row, seed {options.seed}; target ± {TARGET:.0%}, at "
        f"most {DEFAULT_BLOCKS} blocks; fixed: {FIXED_BLOCKS} blocks\n\n"
        "| machine | truth | decided | blocks | t test | coverage | fixed |\n"
        "|---|---:|---:|---:|---:|---:|---:|",
        flush=True,
    )
    broken = []
    with ProcessPoolExecutor() as pool:
        for machine in MACHINES:
            for effect in EFFECTS:
                row = simulate(pool, machine, effect, options.comparisons, options.seed)
                print(_line(row), flush=True)
                if (what := row.broken()) is not None:
                    broken.append(f"{machine.name}, {effect:.0%}: {what}")
    print("\n" + ("\n".join(["BROKEN:", *broken]) if broken else "Every promise is kept."))
    return 1 if broken else 0


def simulate(
    pool: ProcessPoolExecutor, machine: Machine, effect: float, comparisons: int, seed: int
) -> Row:
    """Simulate all comparisons of one machine and effect."""
    shares = [comparisons // SHARES + (n < comparisons % SHARES) for n in range(SHARES)]
    jobs = [(machine, effect, share, (seed, n)) for n, share in enumerate(shares) if share]
    return Row(machine.name, effect, [each for done in pool.map(_share, jobs) for each in done])


def _share(job: tuple[Machine, float, int, tuple[int, int]]) -> list[Outcome]:
    machine, effect, comparisons, seed = job
    lot = np.random.default_rng([*seed, round(effect * 1000), MACHINES.index(machine)])
    return [
        outcome(logs, math.log1p(effect)) for logs in samples(machine, effect, comparisons, lot)
    ]


def samples(
    machine: Machine, effect: float, comparisons: int, lot: np.random.Generator
) -> Iterator[list[float]]:
    """Yield the log-ratios of each comparison, one for each of `DEFAULT_BLOCKS` blocks."""
    blocks, times = DEFAULT_BLOCKS, DEFAULT_BLOCKS * machine.apart
    for _ in range(comparisons):
        log_time = lot.normal(0, machine.own, times) + _remembered(machine, times, lot)
        log_time += np.cumsum(lot.normal(0, machine.drift / 2 / math.sqrt(times), times))
        turns, phase = lot.uniform(0.5, 4), lot.uniform()
        log_time += (
            machine.drift / 2 * np.sin(2 * np.pi * (np.arange(times) / times * turns + phase))
        )
        log_time += (lot.random(times) < machine.outliers) * lot.exponential(0.3, times)
        by_block = log_time.reshape(blocks, machine.apart)
        places = np.argsort(lot.random(by_block.shape), axis=1)  # the random order of each block
        first, second = (np.take_along_axis(by_block, places[:, [n]], 1)[:, 0] for n in (0, 1))
        yield (second - first + math.log1p(effect)).tolist()


def _remembered(machine: Machine, times: int, lot: np.random.Generator) -> Floats:
    from scipy.signal import lfilter

    fresh = lot.normal(0, machine.remembered * math.sqrt(1 - machine.memory**2), times)
    fresh[0] = lot.normal(0, machine.remembered)
    return np.asarray(lfilter([1.0], [1.0, -machine.memory], fresh))


def outcome(logs: Sequence[float], truth: float) -> Outcome:
    """Sample a comparison block by block, and stop as `bench` does."""
    verdict, blocks = settled(logs)
    return Outcome(
        blocks=blocks,
        verdict=verdict,
        covered=_holds(logs[:blocks], truth),
        fixed_covered=_holds(logs[:FIXED_BLOCKS], truth),
        naive_alarm=_peeking(logs),
    )


def settled(logs: Sequence[float]) -> tuple[str, int]:
    """Return the final verdict, and after how many blocks it was reached.

    The result equals that of `evidence.settled` after every block and `evidence.verdict` at the
    end, but the evidence is computed only once.
    """
    low, high = math.log(1 - EQUIVALENT_WITHIN), math.log(1 + EQUIVALENT_WITHIN)
    enough = -math.log(LEVEL)
    zero, below, above = (
        np.maximum.accumulate(evidence.evidence(logs, null)) >= enough for null in (0.0, low, high)
    )
    ratios = [ratio_of(logs[:n]) for n in range(1, len(logs) + 1)]

    def verdict(n: int) -> str:
        centre = math.log(ratios[n - 1].estimate)
        if low < centre < high and below[n - 1] and above[n - 1]:
            return "equivalent"
        return "inconclusive" if not zero[n - 1] else "faster" if centre > 0 else "slower"

    for n in range(2, len(logs) + 1):
        now = ratios[n - 1]
        clear = now.low > evidence.CLEAR or now.high < 1 / evidence.CLEAR
        decisive = n if clear else n - evidence.CONFIRMING
        if decisive > 1 and (
            verdict(decisive) != "inconclusive" or evidence.precise(logs[:decisive], TARGET)
        ):
            return verdict(n), n
    return verdict(len(logs)), len(logs)


def _holds(logs: Sequence[float], truth: float) -> bool:
    ratio = ratio_of(logs)
    return ratio.low <= math.exp(truth) <= ratio.high


def _peeking(logs: Sequence[float]) -> bool:
    """Return whether a t test at 5 % after each block, from the third, ever finds a difference."""
    values = np.asarray(logs)
    n = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / n
    spread = np.sqrt(np.maximum(np.cumsum(values**2) - n * mean**2, 0)[2:] / (n[2:] - 1))
    t = np.abs(mean[2:]) / np.maximum(spread, 1e-300) * np.sqrt(n[2:])
    return bool(np.any(t > stats.t.ppf(1 - LEVEL / 2, n[2:] - 1)))


def _line(row: Row) -> str:
    peeking = f"{row.share('naive_alarm'):.1%}" if row.effect == 0 else ""
    return (
        f"| {row.machine} | {row.effect:.0%} | {row.share('decided'):.1%} | {row.blocks:.1f} "
        f"| {peeking} | {row.share('covered'):.1%} | {row.share('fixed_covered'):.1%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
