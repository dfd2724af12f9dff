"""A normal distribution seen through a threshold: how many of a number of draws lay below each setting of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing

_STEPS = 200


@dataclass(frozen=True, slots=True)
class Normal:
    """mean, sd: with intervals; NaN where the counts do not tell them."""

    mean: Estimate
    sd: Estimate

    def below(self, threshold: ArrayLike) -> Floats:
        """The share below each threshold."""
        return np.asarray(special.ndtr(self._scores(threshold)), np.float64)

    def above(self, threshold: ArrayLike) -> Floats:
        """The share above each threshold, exact where it is small."""
        return np.asarray(special.ndtr(-self._scores(threshold)), np.float64)

    def _scores(self, threshold: ArrayLike) -> Floats:
        return (np.asarray(threshold, np.float64) - self.mean.value) / self.sd.value


def normal_below(thresholds: ArrayLike, below: ArrayLike, draws: ArrayLike, confidence: float = CONFIDENCE) -> Normal:
    """The normal distribution of which `below` (n,) of `draws` (n,) lay under each of `thresholds` (n,), increasing.

    A probit line, Phi(a + b T) with mean -a / b and standard deviation 1 / b, of greatest likelihood by Fisher scoring;
    its information gives the intervals (D. J. Finney, Probit Analysis, 3rd ed. (1971), chapters 3 and 4). Draws of one
    threshold are others than those of the next. Two thresholds at least have to see some below and some above.
    """
    levels, hits, tries = (np.asarray(each, np.float64) for each in (thresholds, below, draws))
    between = (hits > 0) & (hits < tries)
    n = int(tries.sum())
    if np.count_nonzero(between) < 2:
        return Normal(nothing(n), nothing(n))
    line = _start(levels[between], hits[between] / tries[between])
    for _ in range(_STEPS):
        gradient, information = _slopes(line, levels, hits, tries)
        change = np.linalg.solve(information, gradient)
        while line[1] + change[1] <= 0:
            change = change / 2
        line = line + change
        if np.abs(change).max() < 1e-9 * np.abs(line).max():
            break
    covariance = np.linalg.inv(_slopes(line, levels, hits, tries)[1])
    z = float(special.ndtri((1 + confidence) / 2))
    mean, sd = -float(line[0] / line[1]), 1 / float(line[1])
    along = np.array([1.0, mean]) * sd
    half = z * float(np.sqrt(along @ covariance @ along))
    factor = float(np.exp(z * np.sqrt(covariance[1, 1]) * sd))
    return Normal(Estimate(mean, mean - half, mean + half, n), Estimate(sd, sd / factor, sd * factor, n))


def _start(levels: Floats, shares: Floats) -> Floats:
    """(2,) the least-squares line through the scores of the shares; they increase, but for chance."""
    slope, intercept = np.polyfit(levels, special.ndtri(shares), 1)
    return np.array([intercept, slope] if slope > 0 else [0.0, 1.0])


def _slopes(line: Floats, levels: Floats, hits: Floats, tries: Floats) -> tuple[Floats, Floats]:
    """Gradient and Fisher information of the logarithm of the likelihood."""
    scores = line[0] + line[1] * levels
    density = np.exp(-(scores**2) / 2) / np.sqrt(2 * np.pi)
    low, high = special.ndtr(scores), special.ndtr(-scores)
    spread = np.maximum(low * high, np.finfo(float).tiny)
    ends = np.column_stack([np.ones(len(levels)), levels])
    gradient: Floats = ((hits * high - (tries - hits) * low) * density / spread) @ ends
    information: Floats = (ends * (tries * density**2 / spread)[:, None]).T @ ends
    return gradient, information
