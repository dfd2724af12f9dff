"""How two quantities, or neighbours in a series, go together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, nothing

_FEW_SERIES = 10  # fewer do not tell their own scatter


def correlation(first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Pearson's correlation of (n,) pairs, with an interval that holds for heavy-tailed ones.

    Its standard error is that of its influence function, z1 z2 - r (z1^2 + z2^2) / 2 (Devlin, Gnanadesikan and
    Kettenring, Biometrika 62 (1975) 531), on Fisher's scale. Pairs that are not finite are left out.
    """
    x, y = (np.asarray(each, np.float64).ravel() for each in (first, second))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    n = len(x)
    if n < 4 or x.std() == 0 or y.std() == 0:
        return nothing(n)
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    r = float(np.mean(x * y))
    error = float(np.std(x * y - r * (x**2 + y**2) / 2, ddof=1) / np.sqrt(n))
    return _on_fisher_scale(r, error, n, confidence)


def rank_correlation(first: ArrayLike, second: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Spearman's correlation of (n,) pairs: that of their ranks, equal values sharing theirs.

    Its standard error on Fisher's scale is sqrt((1 + r^2 / 2) / (n - 3)) (Bonett and Wright, Psychometrika 65 (2000)
    23), good to about 0.95. Pairs that are not finite are left out.
    """
    x, y = (np.asarray(each, np.float64).ravel() for each in (first, second))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = (stats.rankdata(each[both]) for each in (x, y))
    n = len(x)
    if n < 4 or x.std() == 0 or y.std() == 0:
        return nothing(n)
    r = float(np.corrcoef(x, y)[0, 1])
    return _on_fisher_scale(r, float(np.sqrt((1 + r**2 / 2) / (n - 3)) * (1 - r**2)), n, confidence)


def lag1_correlation(values: ArrayLike, axis: int = -1, confidence: float = CONFIDENCE) -> Estimate:
    """Correlation of neighbours along `axis`, pooled over all series of the other axes, each about its own mean.

    Corrected for the mean being estimated from the series: of one series of T samples r = rho - (1 + 4 rho) / T on
    average (Kendall, Biometrika 41 (1954) 403); half of the 4 is that of a ratio of two estimates, which pooling N
    series divides by N. The interval comes from the scatter between series; of fewer than 10, from Bartlett's
    variance (1 - rho^2) / T. n: series. NaN samples, and those next to them, do not count.
    """
    series = np.moveaxis(np.asarray(values, np.float64), axis, -1)
    if not series.size:
        return nothing()
    series = series.reshape(-1, series.shape[-1])
    known = np.isfinite(series)
    series = series[known.sum(axis=1) >= 4]
    count = len(series)
    if not count:
        return nothing()
    deviation = series - np.nanmean(series, axis=1, keepdims=True)
    product = deviation[:, 1:] * deviation[:, :-1]
    pairs = np.isfinite(product).sum(axis=1)
    samples = np.isfinite(deviation).sum(axis=1)
    variance = np.nansum(deviation**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = np.nansum(product, axis=1) * samples / (pairs + 1)  # were none missing: T / T
    total, length = variance.sum(), samples.mean()
    if total == 0:
        return nothing(count)
    raw = covariance.sum() / total
    shrunk = max(1 - (2 + 2 / count) / length, 0.25)
    r = float(np.clip((raw + 1 / length) / shrunk, -1, 1))
    if count < _FEW_SERIES:
        error = np.sqrt(max(1 - r**2, 0.0) / (count * length))
    else:
        error = np.sqrt(np.sum((covariance - raw * variance) ** 2) * count / (count - 1)) / total / shrunk
    return _on_fisher_scale(r, float(error), count, confidence)


def _on_fisher_scale(r: float, error: float, n: int, confidence: float) -> Estimate:
    """The interval of a correlation with this standard error, which cannot leave -1 to 1."""
    inside = min(abs(r), 1 - 1e-12) * np.sign(r)
    half = stats.norm.ppf((1 + confidence) / 2) * error / (1 - inside**2)
    centre = np.arctanh(inside)
    return Estimate(r, float(np.tanh(centre - half)), float(np.tanh(centre + half)), n)
