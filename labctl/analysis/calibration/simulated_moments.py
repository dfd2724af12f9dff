"""Fit a model that is easy to simulate and hard to solve: by the statistics that its simulation shares with the data.

The method of simulated moments (McFadden, Econometrica 57 (1989) 995): parameters for which simulated cells have the
statistics of the measured ones, weighted by how well each is known. Every simulation draws the same random numbers, so
that statistics change smoothly with parameters. What the data leave open stays where the start was, within the
`looseness` it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labctl.analysis.calibration.parameters import Z95, Floats

_ITERATIONS = 30
_DIFFERENCE = 0.05  # step of the derivatives, in parameters that are logarithms or logits
_LEAST_GAIN = 1e-3


@dataclass(frozen=True, slots=True)
class Matched:
    """point: (parameters,). half: half of each 95 % interval. told: (parameters,) share of each that the data decided,
    0 to 1. misfit: mean squared miss of the statistics, in their errors."""

    point: Floats
    half: Floats
    told: Floats
    misfit: float


def match(
    simulate: Callable[[Floats], Floats],
    seen: Floats,
    drawn: Floats,
    start: Floats,
    looseness: Floats,
    simulated_share: float,
) -> Matched:
    """The parameters at which `simulate` gives `seen` (statistics,), from `start` on.

    drawn: (rounds, statistics) bootstrap values of `seen`. looseness: how far a parameter may plausibly be from its
    start, as a standard deviation. simulated_share: measured over simulated cells, by which the simulation's own
    scatter adds to the error.
    """
    covariance = np.atleast_2d(np.cov(drawn.T)) * (1 + simulated_share)
    error = np.sqrt(np.maximum(np.diag(covariance), 1e-12)) + 1e-4
    prior = 1 / looseness**2

    def cost(point: Floats, statistics: Floats) -> float:
        return float((((seen - statistics) / error) ** 2).sum() + (prior * (point - start) ** 2).sum())

    point, statistics = start.astype(np.float64), simulate(start)
    least, damping = cost(point, statistics), 1e-2
    slopes = _slopes(simulate, point, statistics)
    for _ in range(_ITERATIONS):
        weighted = slopes / error[:, None]
        curvature = weighted.T @ weighted + np.diag(prior)
        downhill = weighted.T @ ((seen - statistics) / error) - prior * (point - start)
        step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), downhill)
        trial = point + np.clip(step, -1.0, 1.0)
        there = simulate(trial)
        new = cost(trial, there)
        if new < least:
            gain, least, point, statistics = least - new, new, trial, there
            damping /= 5
            if gain < _LEAST_GAIN * least:
                break
            slopes = _slopes(simulate, point, statistics)
        else:
            damping = max(damping * 8, 1e-2)
    weighted = slopes / error[:, None]
    inverse = np.linalg.inv(weighted.T @ weighted + np.diag(prior))
    lever = (weighted / error[:, None]).T
    variance = inverse @ (lever @ covariance @ lever.T + np.diag(prior)) @ inverse
    told = np.clip(1 - np.diag(inverse) * prior, 0.0, 1.0)
    misfit = float(np.mean(((seen - statistics) / error) ** 2))
    return Matched(point, Z95 * np.sqrt(np.diag(variance)), told, misfit)


def _slopes(simulate: Callable[[Floats], Floats], point: Floats, statistics: Floats) -> Floats:
    """(statistics, parameters)"""
    columns = []
    for number in range(len(point)):
        moved = point.copy()
        moved[number] += _DIFFERENCE
        columns.append((simulate(moved) - statistics) / _DIFFERENCE)
    return np.stack(columns, axis=1)
