"""Parts of a variance: between devices, between cycles of a device, between reads of a cycle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing
from labctl.analysis.estimators.robust import MAD_TO_SD

_REPEATS = 400
_FOLLOWED = 1.2  # cycles of a device that its median takes up
_MOST_DRAWN = 20_000  # devices a bootstrap draws from; of more, the interval is scaled by the root of their number


@dataclass(frozen=True, slots=True)
class Components:
    """Standard deviations. device: of devices' true means. cycle: of cycles about their device. read: of reads about
    their cycle; None where each cycle was read once, so that `cycle` holds it too.
    """

    device: Estimate
    cycle: Estimate
    read: Estimate | None = None


@dataclass(frozen=True, slots=True)
class _Groups:
    """What an analysis of variance needs of each device: (devices,) count, mean, and squares about the mean."""

    count: Floats
    mean: Floats
    squares: Floats

    def take(self, chosen: np.ndarray) -> _Groups:
        return _Groups(self.count[chosen], self.mean[chosen], self.squares[chosen])


def variance_components(values: ArrayLike, confidence: float = CONFIDENCE) -> Components:
    """One-way random-effects analysis of variance of `values` (devices, cycles); NaN where there is none.

    Within: pooled variance about the device means. Between: (mean square between - mean square within) / n0, not
    below 0, n0 the effective number of cycles (Searle, Casella and McCulloch, Variance Components (1992), chapter
    3.6). Intervals by bootstrap over devices, so cycles of a device may be correlated and need not be normal.
    """
    groups = _groups(np.asarray(values, np.float64))
    devices = len(groups.count)
    if devices < 2:
        return Components(nothing(devices), nothing(devices))
    drawn = _drawn(devices)
    found = np.array([_one_way(groups.take(chosen)) for chosen in drawn])
    between, within = _one_way(groups)
    narrower = np.sqrt(drawn.shape[1] / devices)
    return Components(
        _interval(between, found[:, 0], devices, confidence, narrower),
        _interval(within, found[:, 1], devices, confidence, narrower),
    )


def robust_components(values: ArrayLike, confidence: float = CONFIDENCE) -> Components:
    """As `variance_components`, of the bulk: medians and median absolute deviations (times 1.4826) instead.

    Within: of all residuals from the device medians, times T / (T - 1.2) for the T cycles that each median follows
    (by simulation of normal samples, within 2 % from T = 6 on). Between: of the device medians, less the
    pi/2 within^2 / T with which a median of T normal samples scatters.
    """
    table = np.asarray(values, np.float64)
    table = table[np.isfinite(table).sum(axis=1) >= 2]
    devices = len(table)
    if devices < 2:
        return Components(nothing(devices), nothing(devices))
    count = np.isfinite(table).sum(axis=1).mean()
    centres = np.nanmedian(table, axis=1)
    deviations = np.nanmedian(np.abs(table - centres[:, None]), axis=1)
    residuals = np.abs(table - centres[:, None])
    scale = MAD_TO_SD * count / (count - _FOLLOWED)
    within = scale * float(np.nanmedian(residuals))
    share = within / max(float(np.median(deviations)), np.finfo(float).tiny)

    def between(sample: Floats, spread: float) -> float:
        square = (MAD_TO_SD * np.median(np.abs(sample - np.median(sample)))) ** 2
        return float(np.sqrt(max(square - np.pi / 2 * spread**2 / count, 0.0)))

    drawn = _drawn(devices)
    spreads = np.array([share * np.median(deviations[chosen]) for chosen in drawn])
    centres_drawn = [between(centres[chosen], spread) for chosen, spread in zip(drawn, spreads, strict=True)]
    narrower = np.sqrt(drawn.shape[1] / devices)
    return Components(
        _interval(between(centres, within), np.array(centres_drawn), devices, confidence, narrower),
        _interval(within, spreads, devices, confidence, narrower),
    )


def nested_components(values: ArrayLike, confidence: float = CONFIDENCE) -> Components:
    """Balanced nested analysis of variance of `values` (devices, cycles, reads), none missing.

    Mean squares of the three levels, each part the difference of two over what lies below it (Searle, Casella and
    McCulloch (1992), chapter 4), not below 0. Intervals: chi square for the reads, Satterthwaite's degrees of
    freedom (Biometrics Bulletin 2 (1946) 110) for the differences; they ask for roughly normal parts.
    """
    table = np.asarray(values, np.float64)
    if table.ndim != 3 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(
            f"nested components need (devices, cycles, reads), 2 each at least, none missing: {table.shape}"
        )
    devices, cycles, reads = table.shape
    by_cycle = table.mean(axis=2)
    by_device = by_cycle.mean(axis=1)
    squares = (
        cycles * reads * np.var(by_device, ddof=1),
        reads * np.sum((by_cycle - by_device[:, None]) ** 2) / (devices * (cycles - 1)),
        np.sum((table - by_cycle[..., None]) ** 2) / (devices * cycles * (reads - 1)),
    )
    freedom = (devices - 1, devices * (cycles - 1), devices * cycles * (reads - 1))
    return Components(
        _difference(squares[:2], freedom[:2], cycles * reads, devices, confidence),
        _difference(squares[1:], freedom[1:], reads, devices * cycles, confidence),
        _chi_square(squares[2], freedom[2], table.size, confidence),
    )


def _groups(table: Floats) -> _Groups:
    known = np.isfinite(table)
    count = known.sum(axis=1).astype(np.float64)
    table, known, count = table[count >= 1], known[count >= 1], count[count >= 1]
    mean = np.where(known, table, 0.0).sum(axis=1) / count
    squares = np.where(known, (table - mean[:, None]) ** 2, 0.0).sum(axis=1)
    return _Groups(count, mean, squares)


def _one_way(groups: _Groups) -> tuple[float, float]:
    """Standard deviations between and within groups."""
    devices, total = len(groups.count), groups.count.sum()
    within = groups.squares.sum() / max(total - devices, 1)
    centre = np.sum(groups.count * groups.mean) / total
    between = np.sum(groups.count * (groups.mean - centre) ** 2) / (devices - 1)
    effective = (total - np.sum(groups.count**2) / total) / (devices - 1)
    return float(np.sqrt(max((between - within) / effective, 0.0))), float(np.sqrt(within))


def _drawn(devices: int) -> np.ndarray:
    """(repeats, n) devices drawn with replacement; always the same."""
    return np.random.default_rng(0).integers(devices, size=(_REPEATS, min(devices, _MOST_DRAWN)))


def _interval(value: float, drawn: Floats, n: int, confidence: float, scale: float) -> Estimate:
    """Percentile interval; `scale` makes up for draws smaller than the sample."""
    tail = (1 - confidence) / 2
    low, high = value + (np.quantile(drawn, [tail, 1 - tail]) - value) * scale
    return Estimate(value, max(float(low), 0.0), float(high), n)


def _difference(
    squares: tuple[float, ...], freedom: tuple[int, ...], below: int, n: int, confidence: float
) -> Estimate:
    """The standard deviation behind (mean square - the one below it) / below."""
    variance = (squares[0] - squares[1]) / below
    if variance <= 0:
        high = np.sqrt(squares[0] / below * freedom[0] / stats.chi2.ppf((1 - confidence) / 2, freedom[0]))
        return Estimate(0.0, 0.0, float(high), n)
    effective = (variance * below) ** 2 / sum(square**2 / free for square, free in zip(squares, freedom, strict=True))
    return _chi_square(variance, effective, n, confidence)


def _chi_square(variance: float, freedom: float, n: int, confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = (np.sqrt(variance * freedom / stats.chi2.ppf(p, freedom)) for p in (1 - tail, tail))
    return Estimate(float(np.sqrt(variance)), float(low), float(high), n)
