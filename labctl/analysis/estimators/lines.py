"""Straight lines: through many short series at once, and through points that may be far off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing

_MOST = 2000  # points whose pairs are all looked at
_LEAST = 3  # points, of which a line leaves one to tell its error


@dataclass(frozen=True, slots=True)
class Lines:
    """y = level + slope x, (series,) each; NaN where a series has too few points, and bounds of less than three.

    slope_half, level_half: half widths of the intervals. residual: standard deviation about the line. points: used.
    """

    slope: Floats
    slope_half: Floats
    level: Floats
    level_half: Floats
    residual: Floats
    points: Floats


def fit_lines(x: ArrayLike, y: ArrayLike, confidence: float = CONFIDENCE) -> Lines:
    """Least squares of each row of `y` (series, points) on that of `x`, with Student's intervals; NaN left out.

    The intervals ask for errors that are independent, normal and of one size within a series.
    """
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.isfinite(across) & np.isfinite(up)
    points = known.sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        x_mean, y_mean = (np.where(known, each, 0.0).sum(axis=1) / points for each in (across, up))
        dx, dy = (np.where(known, each - mean[:, None], 0.0) for each, mean in ((across, x_mean), (up, y_mean)))
        width = (dx**2).sum(axis=1)
        slope = (dx * dy).sum(axis=1) / np.where(width > 0, width, np.nan)
        rest = np.where(known, dy - slope[:, None] * dx, 0.0)
        free = np.where(points >= _LEAST, points - 2, np.nan)
        residual = np.sqrt((rest**2).sum(axis=1) / free)
        factor = stats.t.ppf((1 + confidence) / 2, free) * residual
        return Lines(
            slope=slope,
            slope_half=factor / np.sqrt(width),
            level=y_mean - slope * x_mean,
            level_half=factor * np.sqrt(1 / points + x_mean**2 / width),
            residual=residual,
            points=points,
        )


def slope_of_pairs(x: ArrayLike, y: ArrayLike, confidence: float = CONFIDENCE, least: int = 4) -> Estimate:
    """Slope of `y` (n,) on `x` (n,): the median of the slopes of all pairs, whatever a few of them are; NaN left out.

    Distribution-free interval of Sen, J. Am. Stat. Assoc. 63 (1968) 1379. Of more than 2,000 points it is of 2,000 of
    them, drawn always alike. Of fewer than `least` there is none.
    """
    across, up = (np.asarray(each, np.float64).ravel() for each in (x, y))
    known = np.flatnonzero(np.isfinite(across) & np.isfinite(up))
    if len(known) > _MOST:
        known = np.random.default_rng(0).choice(known, _MOST, replace=False)
    if len(known) < least or np.ptp(across[known]) == 0:
        return nothing(len(known))
    found = stats.theilslopes(up[known], across[known], alpha=confidence)
    return Estimate(float(found.slope), float(found.low_slope), float(found.high_slope), len(known))
