"""Shares of a population, from counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, finite, nothing


def fraction(count: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """`count` of `n` with Wilson's interval, which holds near 0 and 1 too.

    E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209; Brown, Cai and DasGupta, Stat. Sci. 16 (2001) 101.
    """
    if n < 1:
        return nothing(n)
    share = count / n
    z = stats.norm.ppf((1 + confidence) / 2)
    weight = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / weight
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / weight
    low, high = float(centre - half), float(centre + half)
    return Estimate(share, low if count else 0.0, high if count < n else 1.0, n)


def tail_fraction(sample: ArrayLike, deviations: float = 3.0, confidence: float = CONFIDENCE) -> Estimate:
    """Share of the sample beyond so many of its own standard deviations from its mean; 0.27 % of a normal one at 3."""
    values = finite(sample)
    if len(values) < 2:
        return nothing(len(values))
    beyond = np.abs(values - values.mean()) > deviations * values.std(ddof=1)
    return fraction(int(np.count_nonzero(beyond)), len(values), confidence)
