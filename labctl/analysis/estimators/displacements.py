"""Probabilities of steps that go wrong, from histograms of where a walk of several steps ended, known to a period."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing

_LEAST = 1e-300
_FAR = 40.0  # of a logarithm, below the likeliest: as good as never
_NEAR = 2.0  # of a logarithm: where the other is looked for, as the two hardly depend on one another
_NONE = 1e-2  # steps gone wrong, of all: the likelihood falls towards 0 all the way


def step_errors(counts: ArrayLike, steps: int, confidence: float = CONFIDENCE) -> tuple[Estimate, Estimate]:
    """Probability that one step goes one too far, and that it stays one short, of walks of so many steps.

    counts: (period,) walks by how far beyond their aim they ended, from -period / 2 on, modulo the period. Steps are
    independent; with chances a and b the distribution of the sum has the characteristic function
    (1 - a - b + a e^it + b e^-it)^steps, of which the values at t = 2 pi k / period give it modulo the period. Greatest
    likelihood, with intervals of the likelihood ratio (S. S. Wilks, Ann. Math. Stat. 9 (1938) 60), which hold where
    nothing went wrong too. n: steps.
    """
    seen = np.asarray(counts, np.float64)
    total = int(seen.sum()) * steps
    if not total:
        return nothing(), nothing()
    ended = np.arange(len(seen)) - len(seen) // 2
    logarithms = _likeliest(seen, ended, steps, total)
    top = -_cost(logarithms, seen, steps)
    limit = top - float(stats.chi2.ppf(confidence, 1)) / 2
    return tuple(_bounded(which, logarithms, seen, steps, total, limit) for which in (0, 1))  # type: ignore[return-value]


def ended_shares(over: float, under: float, steps: int, period: int) -> Floats:
    """(period,) how likely a walk of `steps` steps is to end so far beyond its aim, from -period / 2 on."""
    turn = np.exp(2j * np.pi * np.arange(period) / period)
    spectrum = (1 - over - under + over * turn + under / turn) ** steps
    shares: Floats = np.roll(np.fft.fft(spectrum).real / period, period // 2)
    return np.maximum(shares, 0.0)


def _likeliest(seen: Floats, ended: NDArray[np.int64], steps: int, total: int) -> Floats:
    """(2,) logarithms of the probabilities, from a first guess by mean and variance."""
    mean = float(seen @ ended) / seen.sum()
    apart = mean / steps
    both = (float(seen @ (ended - mean) ** 2) / seen.sum()) / steps + apart**2
    guess = np.clip([(both + apart) / 2, (both - apart) / 2], 0.1 / total, 0.45)
    found = optimize.minimize(
        _cost, np.log(guess), (seen, steps), "Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6}
    )
    return np.asarray(found.x, np.float64)


def _cost(logarithms: Floats, seen: Floats, steps: int) -> float:
    over, under = np.exp(logarithms)
    if over + under > 1:
        return np.inf
    return -float(seen @ np.log(np.maximum(ended_shares(over, under, steps, len(seen)), _LEAST)))


def _bounded(which: int, best: Floats, seen: Floats, steps: int, total: int, limit: float) -> Estimate:
    """The estimate of one of the two, the other being what is likeliest beside each value of it."""
    ends = (min(float(best.min()), -np.log(total)) - _FAR, np.log(0.5))

    def above(logarithm: float) -> float:
        def cost(other: float) -> float:
            return _cost(np.array([logarithm, other] if which == 0 else [other, logarithm]), seen, steps)

        other = float(best[1 - which])
        near = (other - _NEAR, min(other + _NEAR, ends[1]))
        likeliest = optimize.minimize_scalar(cost, bounds=near, method="bounded", options={"xatol": 1e-3})
        return -min(float(likeliest.fun), cost(other)) - limit

    middle = float(best[which])
    low = 0.0 if above(ends[0]) > 0 else float(np.exp(optimize.brentq(above, ends[0], middle, xtol=1e-3)))
    high = _upper(above, max(middle, -np.log(total)), ends[1])
    value = float(np.exp(middle))
    return Estimate(value if low or value * total > _NONE else 0.0, low, high, total)


def _upper(above: Callable[[float], float], start: float, end: float) -> float:
    return 1.0 if above(end) > 0 else float(np.exp(optimize.brentq(above, start, end, xtol=1e-3)))
