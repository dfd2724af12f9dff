"""A number estimated from a sample, with its confidence interval; bootstrap and jackknife where there is no formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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


def jackknife(
    statistic: Callable[[Floats], Floats],
    sums: ArrayLike,
    *,
    positive: bool = False,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A function of sums over independent units, each of samples that need not be independent of one another.

    sums: (n, k), what each unit adds. statistic: (m, k) sums to (m,) values. Each unit is left out in turn, and the
    interval is Student's with n - 1 degrees of freedom; of a logarithm where `positive`. Of one unit there is none.
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 11.
    """
    rows = np.asarray(sums, np.float64)
    n = len(rows)
    if n < 1:
        return nothing(n)
    total = rows.sum(axis=0, keepdims=True)
    value = float(statistic(total)[0])
    if n < 2 or (positive and value <= 0):
        return Estimate(value, np.nan, np.nan, n)
    left = statistic(total - rows)
    left = np.log(np.maximum(left, np.finfo(float).tiny)) if positive else left
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(np.sqrt((n - 1) * np.var(left)))
    if positive:
        return Estimate(value, float(value * np.exp(-half)), float(value * np.exp(half)), n)
    return Estimate(value, value - half, value + half, n)
