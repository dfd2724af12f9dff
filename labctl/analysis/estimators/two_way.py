"""What the rows and the columns of a table have in common: effects of each, and their shares of the variance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from labctl.analysis.estimators.estimate import CONFIDENCE, Estimate, Floats, nothing
from labctl.analysis.estimators.missing import known_mean, known_median

_ROUNDS = 20
_SETTLED = 1e-3  # of the spread of the rest over the root of a line's length: further rounds say nothing
_DRAWS = 4000


@dataclass(frozen=True, slots=True)
class TwoWay:
    """value (row, col) = centre + row + column + rest. row: (rows,), column: (cols,), rest: (rows, cols)."""

    centre: float
    row: Floats
    column: Floats
    rest: Floats


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the variance of a table's cells: that between rows, between columns, and the rest; they add up to 1."""

    row: Estimate
    column: Estimate
    rest: Estimate


def median_polish(values: ArrayLike) -> TwoWay:
    """Effects by medians, which do not see single cells that are far off. values: (rows, cols), NaN left out.

    Tukey, Exploratory Data Analysis (1977), chapter 11. A line of which nothing is known has the effect NaN.
    """
    return _polish(values, known_median)


def mean_polish(values: ArrayLike) -> TwoWay:
    """Effects by least squares, which alternating means come to: for what asks for sums of squares."""
    return _polish(values, known_mean)


def variance_shares(values: ArrayLike, confidence: float = CONFIDENCE) -> Shares:
    """Parts of the variance of (rows, cols) `values` by a crossed random-effects analysis of variance; NaN left out.

    Mean squares of rows, columns and the rest, the parts their differences over n0, not below 0 (Searle, Casella and
    McCulloch, Variance Components (1992), chapter 4). Generalised intervals: each mean square over the chi square
    variable it would have come from, drawn again and again (Weerahandi, J. Am. Stat. Assoc. 88 (1993) 899; Burdick,
    Borror and Montgomery, Design and Analysis of Gauge R&R Studies (2005), chapter 3). They ask for roughly normal
    effects, and for few missing cells.
    """
    table = np.asarray(values, np.float64)
    known = np.isfinite(table)
    counts = [each[each > 0].astype(np.float64) for each in (known.sum(axis=1), known.sum(axis=0))]
    total = int(known.sum())
    freedom = np.array([len(counts[0]) - 1, len(counts[1]) - 1, total - len(counts[0]) - len(counts[1]) + 1])
    if freedom.min() < 1:
        return Shares(nothing(total), nothing(total), nothing(total))
    fit = mean_polish(table)
    effects = [each[np.isfinite(each)] for each in (fit.row, fit.column)]
    sums = [float(np.sum(count * effect**2)) for count, effect in zip(counts, effects, strict=True)]
    sums.append(float(np.nansum(fit.rest**2)))
    per_line = np.array([(total - np.sum(count**2) / total) / (len(count) - 1) for count in counts])
    if sum(sums) == 0:
        return Shares(nothing(total), nothing(total), nothing(total))
    drawn = np.array(sums)[:, None] / np.random.default_rng(0).chisquare(freedom[:, None], (3, _DRAWS))
    shares, found = _shares(drawn, per_line), _shares((np.array(sums) / freedom)[:, None], per_line)[:, 0]
    tail = (1 - confidence) / 2
    ends = np.quantile(shares, [tail, 1 - tail], axis=1)
    estimates = (Estimate(float(v), float(lo), float(hi), total) for v, lo, hi in zip(found, *ends, strict=True))
    return Shares(*estimates)


def _shares(squares: Floats, per_line: Floats) -> Floats:
    """(3, n) shares of mean squares (3, n) of rows, columns and the rest."""
    lines = np.maximum(squares[:2] - squares[2], 0.0) / per_line[:, None]
    parts = np.concatenate([lines, squares[2:]])
    shares: Floats = parts / parts.sum(axis=0)
    return shares


def _polish(values: ArrayLike, middle: Callable[..., Floats]) -> TwoWay:
    rest = np.array(values, np.float64)
    effects = [np.zeros(rest.shape[0]), np.zeros(rest.shape[1])]
    if not np.isfinite(rest).any():
        return TwoWay(np.nan, effects[0] * np.nan, effects[1] * np.nan, rest)
    for _ in range(_ROUNDS):
        moved = 0.0
        for axis, effect in ((1, effects[0]), (0, effects[1])):
            step = middle(rest, axis=axis)
            rest -= np.expand_dims(step, axis)
            effect += step
            moved = max(moved, float(np.nanmax(np.abs(step))))
        if moved <= _SETTLED * float(np.nanstd(rest)) / np.sqrt(max(rest.shape)):
            break
    centres = [float(middle(effect, axis=None)) for effect in effects]
    row, column = (effect - centre for effect, centre in zip(effects, centres, strict=True))
    return TwoWay(sum(centres), row, column, rest)
