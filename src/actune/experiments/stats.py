"""The few statistics of a comparison: a mean with its interval, the paired test, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["LEVEL", "Estimate", "estimate", "holm", "paired_p"]

LEVEL = 0.05  # of the tests; intervals cover 1 - LEVEL


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % t-interval, which is nan for a single seed."""

    mean: float
    low: float
    high: float


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the i-th smallest of m p-values times m - i, never below a smaller one's, at most 1."""
    corrected, highest = [0.0] * len(p), 0.0
    for i, k in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - i) * p[k]))
        corrected[k] = highest
    return corrected


def estimate(values: Sequence[float]) -> Estimate:
    """The mean and its t-interval; where a value is not finite there is no interval."""
    n = len(values)
    if n == 1 or not all(map(math.isfinite, values)):
        return Estimate(sum(values) / n, math.nan, math.nan)
    mean = fmean(values)
    from scipy.stats import t

    reach = float(t.ppf(1 - LEVEL / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - reach, mean + reach)


def paired_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of the paired t-test; nan for a single pair.

    Equal differences have no variance, and t is not defined. If they are zero, p is 1. If not, p is that of the exact
    sign-flip test, 2 / 2^n: two seeds that happen to differ by the same number of digits must not count as certainty.
    Where a difference is not finite (a network diverged), nothing is shown: p is 1.
    """
    n = len(differences)
    if n == 1:
        return math.nan
    if not all(map(math.isfinite, differences)):
        return 1.0
    mean, spread = fmean(differences), stdev(differences)
    if spread < 1e-12:  # accuracies are fractions of one count; below this it is rounding
        return 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n)
    from scipy.stats import t

    return float(2 * t.sf(abs(mean) / (spread / math.sqrt(n)), n - 1))
