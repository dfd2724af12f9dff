"""A number estimated from a sample, with its confidence interval; and the bootstrap for those without a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
"""How often an interval is to hold the true value, where nothing else is asked for."""

_REPEATS = 400


@dataclass(frozen=True, slots=True)
class Estimate:
    """value, and the interval low to high; infinite or NaN where the sample says nothing. n: independent samples."""

    value: float
    low: float
    high: float
    n: int


def finite(sample: ArrayLike) -> Floats:
    """`sample` as a flat array of float64, without what is not finite."""
    values = np.asarray(sample, np.float64).ravel()
    return values[np.isfinite(values)]


def nothing(n: int = 0) -> Estimate:
    """The estimate where a sample is too small for one."""
    return Estimate(np.nan, np.nan, np.nan, n)


def bootstrap(
    statistic: Callable[[Floats], float],
    samples: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    repeats: int = _REPEATS,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of `statistic` over the first axis of `samples` (n, ...), whose rows are independent.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. `seed` makes it repeatable.
    """
    rows = np.asarray(samples, np.float64)
    n = len(rows)
    if n < 2:
        return nothing(n)
    rng = np.random.default_rng(seed)
    drawn = [statistic(rows[rng.integers(n, size=n)]) for _ in range(repeats)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Estimate(float(statistic(rows)), float(low), float(high), n)
