"""Finds random telegraph noise: series that jump between two levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labctl.analysis.estimators.estimate import Floats

_QUANTILES = 512
_ROUNDS = 60
_SEPARATION = 3.0
_LEAST_SHARE = 0.01
_LEAST_CHANGES = 4
_ABRUPT = 0.6


@dataclass(frozen=True, slots=True)
class Telegraph:
    """What two-level noise each series has, (series,) each.

    found: whether it is one. low, high: the levels. share: of samples on the upper level. low_dwell, high_dwell: mean
    stay, in samples. changes: how often it jumped.
    """

    found: NDArray[np.bool_]
    low: Floats
    high: Floats
    share: Floats
    low_dwell: Floats
    high_dwell: Floats
    changes: NDArray[np.int64]


def find_telegraph(series: ArrayLike) -> Telegraph:
    """Test each of `series` (series, samples), none missing, for two levels.

    Two normal distributions of one width are fitted to the quantiles (expectation maximisation; McLachlan and Peel,
    Finite Mixture Models (2000), chapter 3). A series is telegraph noise where their distance is more than 3 widths
    (Ashman's D, Astron. J. 108 (1994) 2348, asks for 2; uniform samples reach 3.5, normal ones 2), each has 1 % of
    the samples, it changes sides 4 times or more, and does so abruptly: the median step at a change is 0.6 of the
    distance or more. The last is what tells jumps from drift, whose distribution may have two humps as well.
    """
    values = np.atleast_2d(np.asarray(series, np.float64))
    low, high, width, share = _two_levels(values)
    distance = high - low
    with np.errstate(invalid="ignore", divide="ignore"):
        separated = distance > _SEPARATION * width
    upper = _sides(values, low, high)
    changed = upper[:, 1:] != upper[:, :-1]
    changes = changed.sum(axis=1)
    step = np.abs(np.diff(values, axis=1))
    step[~changed] = np.nan
    some = changes > 0
    jump = np.zeros(len(values))
    jump[some] = np.nanmedian(step[some], axis=1)
    up = upper.mean(axis=1)
    found = separated & (np.minimum(up, 1 - up) >= _LEAST_SHARE) & (changes >= _LEAST_CHANGES)
    found &= jump >= _ABRUPT * distance
    visits = changes / 2 + 0.5
    samples = values.shape[1]
    return Telegraph(found, low, high, share, (1 - up) * samples / visits, up * samples / visits, changes)


def _two_levels(values: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Lower and upper mean, common width and share of the upper one, (series,) each."""
    points = min(_QUANTILES, values.shape[1])
    sample = np.quantile(values, (np.arange(points) + 0.5) / points, axis=1).T
    floor = np.finfo(np.float64).tiny
    low, high = sample[:, : points // 2].mean(axis=1), sample[:, points // 2 :].mean(axis=1)
    middle = (sample[:, :1] + sample[:, -1:]) / 2  # an uneven share begins nearer here than at the median
    for side, mean in ((sample <= middle, low), (sample > middle, high)):
        count = side.sum(axis=1)
        mean[count > 0] = (np.where(side, sample, 0).sum(axis=1)[count > 0]) / count[count > 0]
    share = np.clip((sample > middle).mean(axis=1), 0.02, 0.98)
    width = np.maximum(np.std(sample, axis=1) / 4, floor)
    for _ in range(_ROUNDS):
        odds = np.log(share / (1 - share))[:, None] + ((sample - low[:, None]) ** 2 - (sample - high[:, None]) ** 2) / (
            2 * width[:, None] ** 2
        )
        weight = 1 / (1 + np.exp(-np.clip(odds, -60, 60)))
        share = np.clip(weight.mean(axis=1), 1e-6, 1 - 1e-6)
        high = (weight * sample).mean(axis=1) / share
        low = ((1 - weight) * sample).mean(axis=1) / (1 - share)
        square = weight * (sample - high[:, None]) ** 2 + (1 - weight) * (sample - low[:, None]) ** 2
        width = np.maximum(np.sqrt(square.mean(axis=1)), floor)
    return low, high, width, share


def _sides(values: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether each sample is on the upper level; between a quarter and three of the distance it stays where it was."""
    relative = (values - low[:, None]) / np.maximum(high - low, np.finfo(np.float64).tiny)[:, None]
    clear = (relative < 0.25) | (relative > 0.75)
    clear[:, 0] = True
    latest = np.maximum.accumulate(np.where(clear, np.arange(values.shape[1]), 0), axis=1)
    sides: NDArray[np.bool_] = np.take_along_axis(relative > 0.5, latest, axis=1)
    return sides
