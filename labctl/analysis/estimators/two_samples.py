"""How far two samples are apart, as whole distributions and quantile by quantile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, finite, nothing

_REPEATS = 400
_DRAWS = 4000


def ks_distance(first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE, seed: int = 0) -> Estimate:
    """Largest distance of the two empirical distribution functions, with the basic bootstrap interval.

    Of what is drawn again the distance is too large by about as much as the distance itself is, so the interval is
    reflected: 2 D - quantiles (Davison and Hinkley, Bootstrap Methods (1997), section 5.2.1), within 0 to 1.
    n: of the smaller sample. The interval is too narrow for small samples: of two of 300 it held the true distance in
    88 % of trials, not 95.
    """
    x, y = np.sort(finite(first)), np.sort(finite(second))
    n = min(len(x), len(y))
    if n < 2:
        return nothing(n)
    places = np.concatenate([x, y])
    order = np.argsort(places, kind="stable")
    last = np.append(np.diff(places[order]) > 0, True)  # ties count together

    def distance(weight: Floats, other: Floats) -> float:
        signed = np.concatenate([weight / len(x), -other / len(y)])[order]
        return float(np.abs(np.cumsum(signed)[last]).max())

    rng = np.random.default_rng(seed)
    drawn = [distance(_weights(rng, len(x)), _weights(rng, len(y))) for _ in range(_REPEATS)]
    value = distance(np.ones(len(x)), np.ones(len(y)))
    tail = (1 - confidence) / 2
    high, low = 2 * value - np.quantile(drawn, [tail, 1 - tail])
    return Estimate(value, max(float(low), 0.0), min(float(high), 1.0), n)


def ks_probability(first: ArrayLike, second: ArrayLike) -> float:
    """Probability of a Kolmogorov-Smirnov distance as large as this, were both samples of one distribution.

    Asymptotic (Smirnov, Ann. Math. Stat. 19 (1948) 279); too large for samples with many equal values.
    """
    x, y = finite(first), finite(second)
    if min(len(x), len(y)) < 2:
        return float("nan")
    return float(stats.ks_2samp(x, y, method="asymp").pvalue)


def quantile_differences(
    first: ArrayLike,
    second: ArrayLike,
    probabilities: Sequence[float],
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[Estimate]:
    """Quantiles of `second` minus those of `first`, one estimate a probability.

    Bootstrap without drawing samples: the bootstrap distribution of a quantile of n samples is that of the sample's
    own quantile at a beta-distributed probability (Maritz and Jarrett, J. Am. Stat. Assoc. 73 (1978) 194). Each
    interval stands for itself, not for all of them at once.
    """
    x, y = np.sort(finite(first)), np.sort(finite(second))
    n = min(len(x), len(y))
    if n < 2:
        return [nothing(n) for _ in probabilities]
    rng = np.random.default_rng(seed)
    tail = (1 - confidence) / 2
    found = []
    for probability in probabilities:
        drawn = _drawn_quantile(rng, y, probability) - _drawn_quantile(rng, x, probability)
        low, high = np.quantile(drawn, [tail, 1 - tail])
        value = np.quantile(y, probability) - np.quantile(x, probability)
        found.append(Estimate(float(value), float(low), float(high), n))
    return found


def _weights(rng: np.random.Generator, n: int) -> Floats:
    """How often each of n samples is drawn when n are drawn with replacement."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def _drawn_quantile(rng: np.random.Generator, ordered: Floats, probability: float) -> Floats:
    """(draws,) bootstrap values of a quantile."""
    n = len(ordered)
    inside = np.clip(probability, 1 / (2 * n), 1 - 1 / (2 * n))
    drawn: Floats = np.interp(
        rng.beta((n + 1) * inside, (n + 1) * (1 - inside), _DRAWS), (np.arange(n) + 0.5) / n, ordered
    )
    return drawn
