"""Mean, standard deviation and quantiles of a sample, with intervals that do not ask for a normal distribution."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, finite, nothing


def mean(sample: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Mean with Student's interval, right for any distribution with a variance once n is some tens."""
    values = finite(sample)
    n = len(values)
    if n < 2:
        return nothing(n)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n)
    centre = values.mean()
    return Estimate(float(centre), float(centre - half), float(centre + half), n)


def standard_deviation(sample: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Standard deviation with Bonett's interval, which widens with the kurtosis of the sample.

    D. G. Bonett, Computational Statistics & Data Analysis 50 (2006) 775: the logarithm of the variance is about
    normal with the variance (kurtosis - (n-3)/n) / (n-1), the kurtosis taken about a trimmed mean.
    """
    values = finite(sample)
    n = len(values)
    if n < 5:
        return nothing(n)
    squares = np.sum((values - values.mean()) ** 2)
    sd = float(np.sqrt(squares / (n - 1)))
    if squares == 0:
        return Estimate(0.0, 0.0, 0.0, n)
    centre = stats.trim_mean(values, 1 / (2 * np.sqrt(n - 4)))
    kurtosis = n * np.sum((values - centre) ** 4) / squares**2
    z = stats.norm.ppf((1 + confidence) / 2)
    half = z * np.sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1)) / 2
    scale = np.sqrt(n / (n - z)) if n > z else 1.0
    return Estimate(sd, float(sd * scale * np.exp(-half)), float(sd * scale * np.exp(half)), n)


def root_mean_square(sample: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Root mean square, its interval that of the mean of the squares, about normal on a logarithmic scale."""
    squares = finite(sample) ** 2
    return root_of_mean(float(squares.sum()), float((squares**2).sum()), len(squares), confidence)


def root_of_mean(squares: float, fourth: float, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """As `root_mean_square`, of the sums of the squares and of the fourth powers of `n` values."""
    if n < 2:
        return nothing(n)
    mean_square = squares / n
    if mean_square == 0:
        return Estimate(0.0, 0.0, 0.0, n)
    error = np.sqrt(max(fourth / n - mean_square**2, 0.0) / (n - 1)) / mean_square
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * error / 2
    root = float(np.sqrt(mean_square))
    return Estimate(root, float(root * np.exp(-half)), float(root * np.exp(half)), n)


def quantile(sample: ArrayLike, probability: float, confidence: float = CONFIDENCE) -> Estimate:
    """Quantile with the distribution-free interval between two order statistics.

    Of n samples, the number below the true quantile is binomial, so X(l) to X(u) holds it with the probability
    P(l <= B < u): David and Nagaraja, Order Statistics (3rd ed., 2003), section 7.1. At least `confidence`, also for
    discrete samples. An end that would need an order statistic the sample does not have is infinite.
    """
    values = np.sort(finite(sample))
    n = len(values)
    if n < 1:
        return nothing(n)
    tail = (1 - confidence) / 2
    low = int(stats.binom.ppf(tail, n, probability))
    high = int(stats.binom.ppf(1 - tail, n, probability)) + 1
    return Estimate(
        float(np.quantile(values, probability)),
        float(values[low - 1]) if low >= 1 else -np.inf,
        float(values[high - 1]) if high <= n else np.inf,
        n,
    )


def median(sample: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """The quantile of 0.5."""
    return quantile(sample, 0.5, confidence)
