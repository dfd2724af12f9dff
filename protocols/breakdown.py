"""The distribution of breakdown voltages, from how many cells each pulse of a ramp formed: a probit line.

A cell that forms at a pulse of the ramp broke down above the voltage before and at or below this one; one that has not
formed yet will above the last. With the share formed by V as Phi(a + b V), the line a + b V has the mean where it is 0
and the slope 1 / sd. a and b are those of greatest likelihood of the counts, found by Fisher scoring from any start, as
the likelihood of grouped normal values is concave in them (J. Burridge, J. R. Stat. Soc. B 43 (1981) 41); the
information gives the intervals (D. J. Finney, Probit Analysis, 3rd ed. (1971), chapters 3 and 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_ROUNDS = 100
_LEAST = 1e-300
_EARLY = 0.05
"""Share of cells from below which no shape is told: some break down far early, which no normal distribution does."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """mean, sd: V. cells: how many were tried. Intervals are of 95 %, V."""

    mean: float
    sd: float
    cells: int
    mean_interval: Interval
    sd_interval: Interval
    _line: Floats
    _covariance: Floats

    def voltage(self, share: float) -> float:
        """V at which that share of cells, more than 0 and less than 1, has formed."""
        return (NormalDist().inv_cdf(share) - float(self._line[0])) / float(self._line[1])

    def voltage_interval(self, share: float) -> Interval:
        """Of `voltage(share)`, by the delta method."""
        middle = self.voltage(share)
        half = Z * _deviation(self._line, self._covariance, middle)
        return middle - half, middle + half


def fit_breakdown(volts: ArrayLike, formed: ArrayLike, left: int) -> Breakdown | None:
    """The line through a ramp's counts; None where they do not tell one.

    volts: (n,) V, increasing. formed: (n,) cells that formed at each, of those that had not before. left: cells that
    have not formed. Cells that formed while they were less than 5 % of all, or than a quarter of those formed by the
    last voltage, count only as formed by then.
    """
    levels, counts = _grouped(np.asarray(volts, np.float64), np.asarray(formed, np.float64), left)
    if np.count_nonzero(np.append(counts, left)) < 3:
        return None
    centre, width = float(levels.mean()), float(np.ptp(levels))
    found = _likeliest((levels - centre) / width, np.append(counts, left))
    if found is None:
        return None
    back = np.array([[1.0, -centre / width], [0.0, 1.0 / width]])  # from the scaled line to that over volts
    line, covariance = back @ found[0], back @ found[1] @ back.T
    intercept, slope = (float(each) for each in line)
    mean, sd = -intercept / slope, 1 / slope
    factor = math.exp(Z * math.sqrt(covariance[1, 1]) / slope)
    half = Z * _deviation(line, covariance, mean)
    cells = int(counts.sum()) + left
    return Breakdown(mean, sd, cells, (mean - half, mean + half), (sd / factor, sd * factor), line, covariance)


def _deviation(line: Floats, covariance: Floats, volts: float) -> float:
    """Standard deviation of the voltage at which the line has the height that it has at `volts`."""
    gradient = np.array([1.0, volts]) / line[1]
    return math.sqrt(max(float(gradient @ covariance @ gradient), 0.0))


def _grouped(volts: Floats, formed: Floats, left: int) -> tuple[Floats, Floats]:
    """(levels,) V and counts, the cells of the early voltages taken together."""
    total = np.cumsum(formed)
    early = min(_EARLY * (total[-1] + left), total[-1] / 4) if len(total) else 0.0
    first = int(np.searchsorted(total, early))  # the first level by which so many had formed
    return volts[first:], np.append(total[first : first + 1], formed[first + 1 :])


def _likeliest(levels: Floats, counts: Floats) -> tuple[Floats, Floats] | None:
    """(intercept, slope) and their covariance; None where the likelihood has no maximum at a finite slope.

    counts: (levels + 1,) cells between one level and the next, below the first and above the last.
    """
    ends = np.column_stack([np.ones(len(levels)), levels])
    line: Floats = np.array([0.0, 4.0])
    likelihood = -math.inf
    step: Floats = np.zeros(2)
    for _ in range(_ROUNDS):
        new, gradient, information = _slopes(ends, line, counts)
        if not new >= likelihood - 1e-12 * abs(likelihood):
            step /= 2
            line = line - step
            continue
        if new - likelihood < 1e-10 * abs(new):
            break
        likelihood = new
        step = np.asarray(np.linalg.lstsq(information, gradient, rcond=None)[0], np.float64)
        line = line + step
    if not (line[1] > 0 and np.isfinite(line).all() and np.linalg.cond(information) < 1e12):
        return None
    return line, np.asarray(np.linalg.inv(information), np.float64)


def _slopes(ends: Floats, line: Floats, counts: Floats) -> tuple[float, Floats, Floats]:
    """Log likelihood of `line`, its gradient and its Fisher information."""
    scores = ends @ line
    below = np.concatenate([[0.0], [0.5 * math.erfc(-each / math.sqrt(2)) for each in scores], [1.0]])
    share = np.maximum(np.diff(below), _LEAST)
    density = np.exp(-(scores**2) / 2) / math.sqrt(2 * math.pi)
    edge = np.vstack([np.zeros(2), density[:, None] * ends, np.zeros(2)])
    change = np.diff(edge, axis=0)
    gradient: Floats = (counts / share) @ change
    information: Floats = counts.sum() * (change / share[:, None]).T @ change
    return float(counts @ np.log(share)), gradient, information
