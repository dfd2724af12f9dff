"""A normal distribution some of which trails off to lower values, fitted to cells known only to lie in intervals.

    x = N(mean, spread) - (with probability `early` an exponential of mean `tail`)

and with probability `never` a cell shows no value at all. Maximum likelihood; intervals from its curvature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labctl.analysis.calibration.parameters import Z95, Floats

_LEAST = 1e-12  # probability below which a cell counts as impossible
_WORTH = 9.2  # twice the log likelihood that two further parameters must gain: ln(10,000) for 10,000 cells
_TOLD = 1.2  # half interval of ln tail: beyond, the tail is known to less than a factor of 3 either way


@dataclass(frozen=True, slots=True)
class Intervals:
    """Cells (count) whose value lies between `low` and `high`; `never`: cells without one up to the highest."""

    low: Floats
    high: Floats
    count: Floats
    never: int = 0

    @classmethod
    def of_ramp(cls, values: Floats) -> Intervals:
        """Of the steps of an even ramp (cells,) at which something happened, NaN where it never did.

        The ramp's step is taken to be the smallest between two values that occur. Below the first lies everything.
        """
        happened = values[np.isfinite(values)]
        levels, count = np.unique(np.round(happened, 6), return_counts=True)
        step = float(np.diff(levels).min()) if len(levels) > 1 else math.inf
        low = levels - step
        low[0] = -math.inf
        return cls(low, levels, count.astype(np.float64), len(values) - len(happened))

    @classmethod
    def of_values(cls, values: Floats, width: float) -> Intervals:
        """Of values (cells,), all finite, put into bins of that width."""
        number, count = np.unique(np.floor(values / width), return_counts=True)
        return cls(number * width, (number + 1) * width, count.astype(np.float64))

    @property
    def total(self) -> int:
        return int(self.count.sum()) + self.never


@dataclass(frozen=True, slots=True)
class Tailed:
    """The likeliest distribution. halves: half the 95 % interval of mean, ln spread, logit never, logit early, ln tail;
    NaN where there is none. early and tail are 0 where no tail is worth its parameters. distance: Kolmogorov-Smirnov.
    """

    mean: float
    spread: float
    never: float
    early: float
    tail: float
    halves: Floats
    distance: float


def fit_tailed(cells: Intervals, usual_tail: float) -> Tailed:
    """usual_tail: taken for `tail` where the cells show a tail, but hardly how long it is."""
    plain = _maximum(cells, tail=False)
    tailed = _maximum(cells, tail=True)
    if plain[2] - tailed[2] <= _WORTH:
        point, halves, _ = plain
        return _described(cells, np.append(point, [-math.inf, 0.0]), np.append(halves, [math.nan, math.nan]))
    if not tailed[1][4] < _TOLD and usual_tail > 0:
        point, halves, _ = _maximum(cells, tail=True, length=math.log(usual_tail))
        return _described(cells, point, halves)
    return _described(cells, tailed[0], tailed[1])


def _described(cells: Intervals, point: Floats, halves: Floats) -> Tailed:
    has_tail = math.isfinite(point[3])
    seen = np.cumsum(cells.count) / cells.count.sum()
    fitted = _distribution(cells.high, point, has_tail)
    return Tailed(
        mean=float(point[0]),
        spread=math.exp(point[1]),
        never=logistic(point[2]) if cells.never else 0.0,
        early=logistic(point[3]) if has_tail else 0.0,
        tail=math.exp(point[4]) if has_tail else 0.0,
        halves=halves,
        distance=float(np.abs(seen - fitted / fitted[-1]).max()),
    )


def _maximum(cells: Intervals, *, tail: bool, length: float | None = None) -> tuple[Floats, Floats, float]:
    """Point, half intervals and -2 ln L; with `length` given, ln tail stays there."""
    from scipy.optimize import minimize

    middle = float(np.average(cells.high, weights=cells.count))
    width = max(math.sqrt(np.average((cells.high - middle) ** 2, weights=cells.count)), 1e-3)
    never = (cells.never + 0.5) / (cells.total + 1)
    free = [middle, math.log(width), math.log(never / (1 - never)), -3.0, math.log(2 * width)]
    start = np.array(free[: (4 if length is not None else 5) if tail else 3])

    def whole(point: Floats) -> Floats:
        return np.append(point, length) if length is not None else point

    def misfit(point: Floats) -> float:
        return -2 * _log_likelihood(cells, whole(point), tail)

    options = {"xatol": 1e-6, "fatol": 1e-6, "maxiter": 6000, "maxfev": 6000, "adaptive": True}
    found = minimize(misfit, start, method="Nelder-Mead", options=options)
    found = minimize(misfit, found.x, method="Nelder-Mead", options=options)
    halves = _half_widths(misfit, found.x, math.exp(found.x[1]))
    if length is not None:
        halves = np.append(halves, math.nan)
    return whole(found.x), halves, float(found.fun)


def _log_likelihood(cells: Intervals, point: Floats, tail: bool) -> float:
    never = logistic(point[2])
    below = _distribution(cells.high, point, tail)
    known = np.isfinite(cells.low)
    before = np.where(known, _distribution(np.where(known, cells.low, 0.0), point, tail), 0.0)
    happened = np.log(np.maximum((1 - never) * (below - before), _LEAST))
    left = math.log(max(never + (1 - never) * (1 - below[-1]), _LEAST))
    return float(cells.count @ happened) + cells.never * left


def _distribution(values: Floats, point: Floats, tail: bool) -> Floats:
    """Share of cells below `values` (n,), of those that have one.

    Of N - E, E exponential of mean t: Phi(u) + exp((v - mean) / t + s^2 / 2 t^2) Phi(-u - s / t), u = (v - mean) / s.
    """
    from scipy.special import log_ndtr, ndtr

    mean, spread = point[0], math.exp(float(np.clip(point[1], -30, 10)))
    score = (values - mean) / spread
    normal: Floats = ndtr(score)
    if not tail:
        return normal
    early, length = logistic(point[3]), math.exp(float(np.clip(point[4], -12, 8)))
    exponent = (values - mean) / length + (spread / length) ** 2 / 2 + log_ndtr(-score - spread / length)
    drawn: Floats = normal + early * np.exp(np.minimum(exponent, 0.0))
    return drawn


def _half_widths(misfit: Callable[[Floats], float], point: Floats, spread: float) -> Floats:
    """Half the 95 % interval of each parameter, from the curvature of -2 ln L; NaN where it has none."""
    count = len(point)
    step = np.full(count, 0.02)
    step[0] *= spread
    curvature = np.empty((count, count))
    for i in range(count):
        for j in range(count):
            first, second = np.zeros(count), np.zeros(count)
            first[i], second[j] = step[i], step[j]
            corners = [misfit(point + a * first + b * second) * a * b for a in (1, -1) for b in (1, -1)]
            curvature[i, j] = sum(corners) / (4 * step[i] * step[j])
    known = np.diag(curvature) > 1e-9
    variance = np.full(count, math.nan)
    try:
        variance[known] = np.diag(np.linalg.inv(curvature[np.ix_(known, known)] / 2))
    except np.linalg.LinAlgError:
        return variance
    half: Floats = Z95 * np.sqrt(np.where(variance > 0, variance, math.nan))
    return half


def logistic(value: float) -> float:
    """The probability with that logit."""
    return 1 / (1 + math.exp(-min(max(float(value), -30.0), 30.0)))
