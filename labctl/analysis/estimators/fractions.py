"""Shares of a population, from counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, finite, nothing
from labctl.proportions import wilson_interval


def fraction(count: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """`count` of `n` with Wilson's interval."""
    if n < 1:
        return nothing(n)
    low, high = wilson_interval(count, n, confidence)
    return Estimate(count / n, low, high, n)


def tail_fraction(sample: ArrayLike, deviations: float = 3.0, confidence: float = CONFIDENCE) -> Estimate:
    """Share of the sample beyond so many of its own standard deviations from its mean; 0.27 % of a normal one at 3."""
    values = finite(sample)
    if len(values) < 2:
        return nothing(len(values))
    beyond = np.abs(values - values.mean()) > deviations * values.std(ddof=1)
    return fraction(int(np.count_nonzero(beyond)), len(values), confidence)
