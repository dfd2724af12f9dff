"""Noise by frequency and by averaging time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal, stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing

_SEGMENTS = 8
_LOWEST = 3  # frequencies, of a segment, from which on a density is right within 2 % for slopes of 0 to -1.3
_PER_DECADE = 5
_LEAST = 64
_TOGETHER = (1.0, 2 * 4 / 9, 2 / 36)
"""How densities go together under a Hann window: with themselves, and with both neighbours, and both after those."""


def power_spectrum(series: ArrayLike, rate: float) -> tuple[Floats, Floats]:
    """One-sided power spectral density of `series` (..., samples), taken at `rate`: frequencies (f,), density (..., f).

    Welch's method (IEEE Trans. Audio Electroacoust. 15 (1967) 70): Hann windows of an eighth of the series, half
    overlapping, each without its linear trend. The frequency 0 and the two above it are left out, from which the trend
    takes power and into which the window lets it leak. Raises ValueError for fewer than 64 samples.
    """
    values = np.asarray(series, np.float64)
    samples = values.shape[-1]
    if samples < _LEAST:
        raise ValueError(f"a spectrum needs {_LEAST} samples at least, not {samples}")
    frequency, density = signal.welch(
        values, fs=rate, nperseg=samples // _SEGMENTS, detrend="linear", scaling="density", axis=-1
    )
    return frequency[_LOWEST:], density[..., _LOWEST:]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """density = level (frequency / at)^slope. level: at the frequency `at` the fit was asked for."""

    slope: Estimate
    level: Estimate


def log_log_slope(
    frequency: ArrayLike,
    density: ArrayLike,
    low: float = 0.0,
    high: float = np.inf,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Slope of log density (f,) against log frequency (f,) between two frequencies, as `power_law` finds it."""
    return power_law(frequency, density, 1.0, low, high, confidence).slope


def power_law(
    frequency: ArrayLike,
    density: ArrayLike,
    at: float = 1.0,
    low: float = 0.0,
    high: float = np.inf,
    confidence: float = CONFIDENCE,
) -> PowerLaw:
    """The line of log density (f,) against log frequency (f,) between two frequencies: slope -1 for 1/f noise.

    Least squares on means over bins of equal width in log frequency (5 a decade), so that the many high frequencies
    do not outweigh the few low ones. The interval is for spectra as `power_spectrum` makes them: the scatter of the
    single densities about the line, those next to each other correlated by the Hann window (4/9, and 1/36 to the one
    after).

    The mean logarithm of a density that is a mean of squares lies below the logarithm of its mean: by 1 / freedom to
    first order (of psi(x) = ln x - 1 / 2x, x half the degrees of freedom), and its variance is 2 / freedom; so half
    the variance of the single logarithms is given back to the level.
    """
    f, d = (np.asarray(each, np.float64) for each in (frequency, density))
    used = (f > 0) & (f >= low) & (f <= high) & (d > 0) & np.isfinite(d)
    position, logarithm = np.log10(f[used]), np.log10(d[used])
    if len(position) < 4:
        return PowerLaw(nothing(len(position)), nothing(len(position)))
    _, place, count = np.unique(
        np.floor((position - position[0]) * _PER_DECADE).astype(int), return_inverse=True, return_counts=True
    )
    if len(count) < 3:
        return PowerLaw(nothing(len(count)), nothing(len(count)))
    x, y = (np.bincount(place, each) / count for each in (position, logarithm))
    pull = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    slope = float(pull @ y)
    residual = logarithm - y.mean() - slope * (position - x.mean())
    single = float(np.sum(residual**2)) / (len(position) - 2)
    away = float(np.log10(at) - x.mean())
    level = float(y.mean()) + slope * away + np.log(10) / 2 * single
    factor = float(stats.t.ppf((1 + confidence) / 2, len(position) - 2))
    half, level_half = (
        factor * np.sqrt(single * _correlated_sum((weight / count)[place]))
        for weight in (pull, 1 / len(x) + away * pull)
    )
    value, below, above = (float(10**each) for each in (level, level - level_half, level + level_half))
    return PowerLaw(
        Estimate(slope, float(slope - half), float(slope + half), len(count)),
        Estimate(value, below, above, len(count)),
    )


def _correlated_sum(weight: Floats) -> float:
    """The variance of a weighted sum of neighbouring densities, over that of one of them."""
    apart = (float(weight @ weight), float(weight[1:] @ weight[:-1]), float(weight[2:] @ weight[:-2]))
    return sum(part * share for part, share in zip(apart, _TOGETHER, strict=True))


def allan_deviation(series: ArrayLike, rate: float) -> tuple[Floats, Floats]:
    """Overlapping Allan deviation of `series` (..., samples), taken at `rate`: times (t,), deviation (..., t).

    Half the mean squared difference of neighbouring averages, rooted; times double from one sample to a quarter of
    the series. White noise falls as 1/sqrt(time), 1/f noise stays level. Allan, Proc. IEEE 54 (1966) 221; overlapping
    as in NIST Special Publication 1065 (2008), section 5.2.4. Raises ValueError for fewer than 4 samples.
    """
    values = np.asarray(series, np.float64)
    samples = values.shape[-1]
    if samples < 4:
        raise ValueError(f"an Allan deviation needs 4 samples at least, not {samples}")
    start = np.zeros((*values.shape[:-1], 1))
    centred = values - values.mean(axis=-1, keepdims=True)  # keeps the sums small
    total = np.concatenate([start, np.cumsum(centred, axis=-1)], axis=-1)
    lengths = 2 ** np.arange(int(np.log2(samples // 4)) + 1)
    found = []
    for length in lengths:
        average = (total[..., length:] - total[..., :-length]) / length
        change = average[..., length:] - average[..., :-length]
        found.append(np.sqrt(np.mean(change**2, axis=-1) / 2))
    return lengths / rate, np.stack(found, axis=-1)
