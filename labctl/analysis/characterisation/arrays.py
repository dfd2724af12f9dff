"""One map of the array: level and spread, what rows, columns and neighbours share, and cells that are defective."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from labctl.analysis import estimators
from labctl.analysis.characterisation.statistic import Statistic, plain, statistic

PRISTINE_BELOW = 0.5e-6
"""S, under which a cell counts as never formed."""

_FAR = 5.0  # robust standard deviations that make a cell an outlier
_NOISY = 5.0  # times the median spread over repeats
_DEAD_SHARE = 0.5  # of a line's cells
_FILLED = 8  # known cells that a line needs, for its mean to be taken out
_PAIRS = 20  # of neighbours, fewer of which tell no correlation
DEFECTS = ("good", "pristine", "low", "high", "noisy", "unreadable")


def classes(measured: xr.Dataset) -> NDArray[np.int8]:
    """(row, col): the index in DEFECTS of each cell; -1 outside the region.

    pristine: below 0.5 uS. low, high: over 5 robust standard deviations from the median of formed cells. noisy: over
    5 times the median spread between repeats. unreadable: saturated, so without a mean, in a line that was read.
    """
    conductance, spread = (measured[name].values.astype(np.float64) for name in ("conductance", "spread"))
    known = np.isfinite(conductance)
    found = np.full(conductance.shape, -1, np.int8)
    found[known] = DEFECTS.index("good")
    inside = np.logical_and.outer(known.any(axis=1), known.any(axis=0))
    if measured.attrs["saturated"]:
        found[inside & ~known] = DEFECTS.index("unreadable")
    formed = known & (conductance >= PRISTINE_BELOW)
    if formed.any():
        centre, width = (
            estimators.median(conductance[formed]).value,
            estimators.robust_spread(conductance[formed]).value,
        )
        noisy = formed & np.isfinite(spread)
        if noisy.any():
            found[noisy & (spread > _NOISY * np.median(spread[noisy]))] = DEFECTS.index("noisy")
        found[formed & (conductance < centre - _FAR * width)] = DEFECTS.index("low")
        found[formed & (conductance > centre + _FAR * width)] = DEFECTS.index("high")
    found[known & ~formed] = DEFECTS.index("pristine")
    return found


def statistics(measured: xr.Dataset) -> list[Statistic]:
    conductance = measured["conductance"].values.astype(np.float64)
    kind = classes(measured)
    usual = np.where(np.isin(kind, [DEFECTS.index(each) for each in ("good", "noisy")]), conductance, np.nan)
    formed = conductance[np.isfinite(conductance) & (conductance >= PRISTINE_BELOW)]
    found = _of_formed(formed, usual)
    if np.isfinite(measured["spread"].values).any():
        note = "between repeats, by cell"
        found.append(statistic("repeat_sd_median", "S", estimators.median(measured["spread"].values), note))
    total = int(np.count_nonzero(kind >= 0))
    for code, name in enumerate(DEFECTS):
        estimate = estimators.fraction(int(np.count_nonzero(kind == code)), total)
        found.append(statistic("cells", "1", estimate, "share of the cells read", kind=name))
    usual_kind = np.bincount(kind[kind >= 0], minlength=len(DEFECTS)).argmax()
    odd = (kind >= 0) & (kind != usual_kind) & (kind != DEFECTS.index("noisy"))
    note = "over half of their cells unlike most of the array, noisy ones apart"
    for axis, name in ((1, "rows"), (0, "columns")):
        read = (kind >= 0).sum(axis=axis)
        dead = int(np.count_nonzero((read > 0) & (odd.sum(axis=axis) > _DEAD_SHARE * read)))
        found.append(plain(f"dead_{name}", "1", dead, int(np.count_nonzero(read)), note))
    return found


def _of_formed(formed: NDArray[np.float64], usual: NDArray[np.float64]) -> list[Statistic]:
    """Level, spread and lines; of none, that there are none."""
    if not len(formed):
        return [plain("formed_cells", "1", 0, 0, "no cell read is formed: nothing to tell of its conductance")]
    return [
        statistic("conductance_median", "S", estimators.median(formed), "of formed cells"),
        statistic("conductance_spread", "S", estimators.robust_spread(formed), "robust, of formed cells"),
        statistic("conductance_p5", "S", estimators.quantile(formed, 0.05), "of formed cells"),
        statistic("conductance_p95", "S", estimators.quantile(formed, 0.95), "of formed cells"),
        *_lines(usual),
    ]


def _lines(values: NDArray[np.float64]) -> list[Statistic]:
    """What rows and columns have in common, and neighbours beyond that; of usual cells."""
    found = []
    for table, name in ((values, "row"), (values.T, "column")):
        effect = estimators.variance_components(table[np.isfinite(table).any(axis=1)]).device
        note = f"standard deviation of the true means of {name}s"
        found.append(statistic(f"{name}_effect_sd", "S", effect, note))
    filled = _in_filled_lines(values)
    for table, name in ((filled, "row"), (filled.T, "column")):
        note = f"of neighbours along a {name}, line means taken out; lines of {_FILLED} formed cells at least"
        found.append(statistic("neighbour_correlation", "1", _of_neighbours(table), note, along=name))
    return found


def _in_filled_lines(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` without the rows and columns in which too few cells are known to tell a mean from a cell."""
    left = values.copy()
    while True:
        known = np.isfinite(left)
        sparse = (known.sum(axis=1, keepdims=True) < _FILLED) | (known.sum(axis=0, keepdims=True) < _FILLED)
        if not (known & sparse).any():
            return left
        left[sparse] = np.nan


def _of_neighbours(values: NDArray[np.float64]) -> estimators.Estimate:
    """Correlation of each cell with the next in its row, without the means of lines.

    Taking out the mean of m cells leaves any two independent ones correlated by -1 / (m - 1), which is given back.
    """
    rest = _without_lines(values)
    pairs = np.isfinite(rest[:, :-1]) & np.isfinite(rest[:, 1:])
    found = estimators.correlation(rest[:, :-1][pairs], rest[:, 1:][pairs])
    if found.n < _PAIRS:
        return estimators.Estimate(np.nan, np.nan, np.nan, found.n)
    length = np.isfinite(rest).sum(axis=1)
    back = float(np.average(1 / np.maximum(length - 1, 1), weights=pairs.sum(axis=1)))
    value, low, high = (min(each + back, 1.0) for each in (found.value, found.low, found.high))
    return estimators.Estimate(value, low, high, found.n)


def _without_lines(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is left of a map without the means of its rows and columns; NaN stays."""
    rest = values.copy()
    for axis in (1, 0):
        count = np.isfinite(rest).sum(axis=axis, keepdims=True)
        rest = rest - np.nansum(rest, axis=axis, keepdims=True) / np.maximum(count, 1)
    return rest
