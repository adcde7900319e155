"""Compare two groups of times: paired, or independent with unequal variances."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from todobatch.lab.stats.estimate import (
    CONFIDENCE,
    StudentT,
    geometric_mean,
    p_value,
    student,
    verdict_of,
)
from todobatch.lab.stats.holm import holm_levels
from todobatch.lab.store.schema import Estimate, Verdict

Method: TypeAlias = Literal["paired", "welch", "welch with controls"]
"""How the two groups were compared; see `todobatch.lab.compare.compare`."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two groups whose members form pairs, compared by Student's paired t test (1908)."""

    logs: tuple[float, ...]
    """The values log(B ÷ A), one for each pair."""
    method: Method = "paired"

    def ratio(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the geometric mean of B ÷ A, with its interval."""
        return geometric_mean(self.logs, confidence)

    def p_value(self) -> float:
        """Return the two-sided p value for a ratio of 1."""
        return p_value(self.logs)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Two independent groups whose variances may differ, compared by Welch's t test.

    The standard error is sqrt(s²a/na + s²b/nb), and the degrees of freedom are
    (s²a/na + s²b/nb)² ÷ ((s²a/na)²/(na-1) + (s²b/nb)²/(nb-1)).

    Source: B. L. Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34, 1947; F. E. Satterthwaite, 1946.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    """`a` and `b` are the logarithms of each group's times."""
    method: Method = "welch"

    def ratio(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the ratio of the geometric means, B ÷ A, with its interval.

        The bounds are NaN if a group has a single value.
        """
        return self._difference().ratio(confidence)

    def p_value(self) -> float:
        """Return the two-sided p value for a ratio of 1; 1 if a group has a single value."""
        return self._difference().p_value()

    def _difference(self) -> StudentT:
        """Return the difference of the means, B - A."""
        a, b = student(self.a), student(self.b)
        error = math.hypot(a.error, b.error)
        if not error > 0:
            return StudentT(b.mean - a.mean, error, math.inf)
        # Shares of the error are squared, because squares of tiny variances would underflow.
        freedom = 1 / math.fsum((each.error / error) ** 4 / each.freedom for each in (a, b))
        return StudentT(b.mean - a.mean, error, freedom)


Contrast: TypeAlias = Paired | Unpaired


def verdicts_of(contrasts: Mapping[str, Contrast]) -> dict[str, Verdict]:
    """Return the verdict on each ratio, with Holm's correction; a ratio above 1 is ``'faster'``."""
    levels = holm_levels({name: contrast.p_value() for name, contrast in contrasts.items()})
    return {name: verdict_of(contrasts[name].ratio(1 - level)) for name, level in levels.items()}
