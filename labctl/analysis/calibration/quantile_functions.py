"""Quantile functions as a chip keeps them: values at a few probabilities, straight between them in the normal score.

Beyond the outermost probabilities the function goes on straight. So a normal distribution is exact, and a heavy tail is
a steeper end.
"""

from __future__ import annotations

import functools

import numpy as np

from labctl.analysis.calibration.parameters import Floats

PROBABILITIES = (0.002, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 0.998)
"""From one cell in 500 to all but one."""

_ROUNDS = 8
_STEP = 0.7  # of what is missing, that each round adds: the sum of two sorted samples is not a sorted sum
_SAMPLES = 1600  # at least so many, for the noise of pairing at random to be small


def normal_scores(count: int) -> Floats:
    """Scores of the middles of `count` equal parts of (0, 1): (count,)."""
    from scipy.special import ndtri

    scores: Floats = ndtri((np.arange(count) + 0.5) / count)
    return scores


def ranked(values: Floats) -> Floats:
    """Normal scores (n,) of the ranks of `values` (n,)."""
    scores = np.empty(len(values))
    scores[np.argsort(values, kind="stable")] = normal_scores(len(values))
    return scores


def basis(scores: Floats, knots: Floats) -> Floats:
    """Weights (n, q) of the values at `knots` (q,) in the function at `scores` (n,)."""
    place = np.clip(np.searchsorted(knots, scores, side="right") - 1, 0, len(knots) - 2)
    weight = (scores - knots[place]) / (knots[place + 1] - knots[place])
    weights = np.zeros((len(scores), len(knots)))
    rows = np.arange(len(scores))
    weights[rows, place], weights[rows, place + 1] = 1 - weight, weight
    return weights


def fit_quantiles(values: Floats, knots: Floats) -> Floats:
    """The (q,) values at `knots` whose function is nearest to the quantiles of `values` (n,) in the mean square.

    So mean and variance, tails included, are kept, where the quantiles themselves would lose some of both.
    """
    return _rising(_projection(len(values), tuple(knots)) @ np.sort(values))


@functools.lru_cache(maxsize=256)
def _projection(count: int, knots: tuple[float, ...]) -> Floats:
    """(q, count) that gives, of sorted values, the nearest function's values at `knots`."""
    return np.asarray(np.linalg.pinv(basis(normal_scores(count), np.array(knots))), np.float64)


def fit_innovation(
    before: Floats, after: Floats, kept: Floats, volatility: float, knots: Floats, rng: np.random.Generator
) -> Floats:
    """The (q,) values of the I for which `before` (n,) + I is distributed as `after` (n,).

    kept: (n,) normal scores of the innovations before, whose size a share `volatility` of the cells keeps, up or down;
    else I is independent. From the quantiles of after - before, in rounds that add what the quantiles of the sum
    still miss.
    """
    values = fit_quantiles(after - before, knots)
    copies = -(-_SAMPLES // len(before))
    start, wanted = np.tile(before, copies), np.sort(np.tile(after, copies))
    scores = normal_scores(len(start))
    ranks = rng.permutation(scores)
    keeps = rng.random(len(start)) < volatility
    ranks[keeps] = np.tile(kept, copies)[keeps] * rng.choice([-1.0, 1.0], int(keeps.sum()))
    drawn, project = basis(ranks, knots), _projection(len(start), tuple(knots))
    best, least = values, np.inf
    for _ in range(_ROUNDS):
        missing = wanted - np.sort(start + drawn @ values)
        error = float(missing @ missing)
        if error < least:
            best, least = values, error
        values = _rising(values + _STEP * (project @ missing))
    return best


def _rising(values: Floats) -> Floats:
    """The nearest values (q,) that never fall."""
    from scipy.optimize import isotonic_regression

    rising: Floats = isotonic_regression(values).x
    return rising


def without_noise(values: Floats, variance: float) -> Floats:
    """`values` (n,) as they would be without an independent normal noise of that `variance`, same order.

    Quantile by quantile: the distance d from the median at score z becomes sqrt(d**2 - z**2 variance), exact where all
    is normal, and next to nothing in a tail.
    """
    if variance <= 0 or len(values) < 3:
        return values
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    distance = ordered - np.median(ordered)
    left = np.sqrt(np.maximum(distance**2 - normal_scores(len(values)) ** 2 * variance, 0.0))
    cleaned = np.empty_like(values)
    cleaned[order] = np.maximum.accumulate(np.median(ordered) + np.sign(distance) * left)
    return cleaned
